"""From a file to one array: headers are read and sizes checked before anything is decoded; nothing in a file is executed.

``decode(path, max_bytes)`` refuses, in words and with the file's name: what is damaged or cut off, what would take more than
``max_bytes`` after decoding (compression bombs, headers that promise what the file does not hold), pickled objects, and kinds of
values that are no image.
"""

from __future__ import annotations

import gzip
import lzma
import re
import struct
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

IMAGES = (".png", ".jpg", ".jpeg", ".bmp")
TIFFS = (".tif", ".tiff")
NIFTIS = (".nii", ".nii.gz")
ARRAYS = (".npy", ".npz")
LARGEST_MEMBER_COUNT = 64


@dataclass(frozen=True, eq=False)
class Decoded:
    """One array of a file: (size...) or, with ``channels``, (size..., 3); ``colours`` (size..., 3) where ``values`` are
    indices into a colour table; ``lossy`` where the file's compression changes values; ``notes`` say what was left out."""

    values: np.ndarray
    channels: bool = False
    colours: np.ndarray | None = None
    spacing: tuple[float, ...] = ()
    affine: np.ndarray | None = None
    lossy: bool = False
    notes: tuple[str, ...] = ()


def ending(path: Path) -> str:
    """The file's ending in lower case; ``.nii.gz`` and ``.csv.gz`` are one ending."""
    name = path.name.lower()
    return next(
        (each for each in (".nii.gz", ".csv.gz", ".tsv.gz", ".txt.gz") if name.endswith(each)), path.suffix.lower()
    )


def decode(path: Path, max_bytes: int) -> Decoded:
    """The one array of an image, TIFF, NIfTI or NPY file."""
    kind = ending(path)
    reader = {
        **dict.fromkeys(IMAGES, _picture),
        **dict.fromkeys(TIFFS, _tiff),
        **dict.fromkeys(NIFTIS, _nifti),
        ".npy": _npy,
    }.get(kind)
    if reader is None:
        known = ", ".join([*IMAGES, *TIFFS, ".npy", ".npz", *NIFTIS, ".csv", ".tsv", ".csv.gz", ".parquet"])
        raise ValueError(f"{path.name} has the ending {kind or '(none)'}; known are {known}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path.name} is empty (0 bytes)")
    return reader(path, max_bytes)


def limit(path: Path, size: int, max_bytes: int, what: str = "") -> None:
    """Refuse ``size`` decoded bytes above ``max_bytes``."""
    if size > max_bytes:
        raise ValueError(f"{path.name}{what} would take {size:,} bytes in memory, more than max_bytes = {max_bytes:,}")


def _picture(path, max_bytes):
    from PIL import Image, ImageOps, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=("PNG", "JPEG", "BMP")) as image:
                width, height = image.size
                limit(path, width * height * 4 * len(image.getbands()), max_bytes, f" ({height} x {width} pixels)")
                if getattr(image, "n_frames", 1) > 1:
                    raise ValueError(
                        f"{path.name} holds {image.n_frames} frames; one image is wanted (save one of them)"
                    )
                image.load()
                lossy, notes = image.format == "JPEG", []
                turned = ImageOps.exif_transpose(image)
                if turned.size != image.size or image.getexif().get(0x0112, 1) != 1:
                    notes.append("turned as its EXIF tag says")
                image, palette = turned, turned.mode == "P"
                if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
                    notes.append(f"colours converted from {image.mode} to RGB")
                    image = image.convert("RGB")
                if image.mode in ("LA", "PA", "RGBA", "RGBa", "La"):
                    notes.append("the transparency channel is dropped")
                if image.mode in ("LA", "PA", "La"):
                    image = image.convert("L")
                bilevel = image.mode == "1"
                colours = image.convert("RGB") if palette else None
                values = np.asarray(image)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise ValueError(f"{path.name} has too many pixels to be decoded safely: {error}") from error
        except UnidentifiedImageError as error:
            raise ValueError(f"{path.name} is not a readable {ending(path)[1:].upper()} image") from error
        except (OSError, SyntaxError, zlib.error, struct.error, EOFError) as error:
            raise ValueError(f"{path.name} is damaged or cut off: {error}") from error
    if palette:
        return Decoded(values, colours=np.asarray(colours), notes=tuple(notes))
    if bilevel:
        values = values.astype(bool)
    if values.dtype == np.int32:
        values = values.astype(np.uint16) if values.min() >= 0 and values.max() < 65536 else values
    channels = values.ndim == 3
    return Decoded(values[..., :3] if channels else values, channels=channels, lossy=lossy, notes=tuple(notes))


def _tiff(path, max_bytes):
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            if len(file.series) != 1:
                raise ValueError(
                    f"{path.name} holds {len(file.series)} series of pages of different size or kind; one is wanted"
                )
            series = file.series[0]
            if series.dtype is None or series.dtype.kind not in "buif":
                raise ValueError(
                    f"{path.name} holds values of type {series.dtype}; booleans, integers or floats are wanted"
                )
            size = int(np.prod(series.shape, dtype=object)) * series.dtype.itemsize
            limit(path, size, max_bytes, f" ({' x '.join(map(str, series.shape))})")
            axes, metadata = series.axes, file.imagej_metadata or {}
            colour = file.pages[0].photometric in (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR)
            lossy = file.pages[0].compression in (6, 7, 34892)  # the JPEG codes
            spacing = _tiff_spacing(file, metadata)
            _tiff_segments(path, file)
            values = series.asarray()
    except (
        tifffile.TiffFileError,
        OSError,
        struct.error,
        zlib.error,
        lzma.LZMAError,
        IndexError,
        KeyError,
        TypeError,
        ZeroDivisionError,
        MemoryError,
    ) as error:
        raise ValueError(f"{path.name} is no readable TIFF file: {error}") from error
    except ValueError as error:
        raise error if path.name in str(error) else ValueError(f"{path.name} can not be decoded: {error}") from error
    channels = colour and axes.endswith("S") and values.shape[-1] in (3, 4)
    if colour and axes.startswith("S") and values.shape[0] in (3, 4):
        values, channels = np.moveaxis(values, 0, -1), True
    notes = ("the transparency channel is dropped",) if channels and values.shape[-1] == 4 else ()
    values = values[..., :3] if channels else values
    rank = values.ndim - channels
    return Decoded(values, channels, spacing=spacing[-rank:] if spacing and rank <= 3 else (), lossy=lossy, notes=notes)


_INFLATERS = {8: zlib.decompressobj, 32946: zlib.decompressobj, 34925: lzma.LZMADecompressor}


def _tiff_segments(path, file):
    """Refuse a compressed strip or tile that grows beyond its pixels: a decoder would inflate all of it."""
    with path.open("rb") as stream:
        for page in file.pages:
            inflater = _INFLATERS.get(page.compression)
            if inflater is None:
                continue
            height = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
            pixels = max(1, height) * (page.tilewidth if page.is_tiled else page.imagewidth)
            expected = pixels * page.samplesperpixel * max(1, page.bitspersample // 8) + 64
            for offset, count in zip(page.dataoffsets, page.databytecounts):
                stream.seek(offset)
                if len(inflater().decompress(stream.read(count), expected + 1)) > expected:
                    raise ValueError(f"{path.name} holds a strip that inflates beyond its pixels: damaged or hostile")


def _tiff_spacing(file, metadata):
    """(depth, height, width) of an ImageJ or OME file; empty elsewhere, where resolution tags speak of print."""
    if file.is_ome:
        head = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", file.ome_metadata or "")
        sizes = dict(re.findall(r"PhysicalSize([XYZ])=[\"']([^\"']{1,40})[\"']", head[0] if head else ""))
        units = set(re.findall(r"PhysicalSize[XYZ]Unit=[\"']([^\"']{1,20})[\"']", head[0] if head else ""))
        try:
            found = tuple(float(sizes.get(axis, 1.0)) for axis in "ZYX")
        except ValueError:
            return ()
        usable = sizes and len(units) <= 1 and all(np.isfinite(length) and length > 0 for length in found)
        return found if usable else ()
    if not file.is_imagej:
        return ()
    found = [float(metadata.get("spacing", 1.0))]
    for tag in ("YResolution", "XResolution"):
        value = file.pages[0].tags.get(tag)
        per_unit = value.value[0] / value.value[1] if value is not None and value.value[1] else 0.0
        found.append(1 / per_unit if per_unit > 0 else 1.0)
    return tuple(found) if all(np.isfinite(length) and length > 0 for length in found) else ()


def _npy(path, max_bytes):
    with path.open("rb") as stream:
        return Decoded(_npy_stream(stream, path, path.name, max_bytes, path.stat().st_size))


def _npy_stream(stream, path, name, max_bytes, stored):
    """An array from an open NPY stream of ``stored`` bytes; the header is believed only as far as the bytes go."""
    try:
        version = np.lib.format.read_magic(stream)
        reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if reader is None:
            raise ValueError(f"format version {version}")
        shape, fortran, dtype = reader(stream, max_header_size=10_000)
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{name} has no readable NPY header: {error}") from error
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects, which would have to be unpickled; save numbers instead")
    if dtype.kind not in "buif":
        raise ValueError(f"{name} holds values of type {dtype}; booleans, integers or floats are wanted")
    if any(not isinstance(length, int) or length < 0 for length in shape):
        raise ValueError(f"{name} has an impossible shape {shape}")
    count = int(np.prod(shape, dtype=object))
    limit(path, count * dtype.itemsize, max_bytes, "" if name == path.name else f" ({name})")
    if count * dtype.itemsize > stored:
        raise ValueError(
            f"{name} promises {count * dtype.itemsize:,} bytes, but {stored:,} are there: damaged or cut off"
        )
    try:
        data = stream.read(count * dtype.itemsize)
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{name} is damaged: {error}") from error
    if len(data) < count * dtype.itemsize:
        raise ValueError(
            f"{name} promises {count * dtype.itemsize:,} bytes, but {len(data):,} are there: damaged or cut off"
        )
    return np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if fortran else "C").copy()


def decode_npz(path: Path, max_bytes: int) -> dict[str, np.ndarray]:
    """The arrays of an NPZ file; their sizes together stay within ``max_bytes``."""
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > LARGEST_MEMBER_COUNT:
                raise ValueError(f"{path.name} holds {len(members)} arrays; at most {LARGEST_MEMBER_COUNT} are read")
            for member in members:
                if not member.filename.endswith(".npy"):
                    raise ValueError(f"{path.name} holds {member.filename!r}, which is no NPY array")
                if member.flag_bits & 1:
                    raise ValueError(f"{path.name} is encrypted")
                name = member.filename.removesuffix(".npy")
                if name == "name":
                    continue
                with archive.open(member) as stream:
                    used = sum(array.nbytes for array in found.values())
                    found[name] = _npy_stream(stream, path, f"{path.name}:{name}", max_bytes - used, member.file_size)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, struct.error) as error:
        raise ValueError(f"{path.name} is no readable NPZ file: {error}") from error
    if not found:
        raise ValueError(f"{path.name} holds no array")
    return found


_NIFTI_BYTES = {2: 1, 4: 2, 8: 4, 16: 4, 64: 8, 256: 1, 512: 2, 768: 4, 1024: 8, 1280: 8}


def _nifti(path, max_bytes):
    import nibabel

    shape, itemsize, offset = _nifti_header(path)
    size = int(np.prod(shape, dtype=object)) * itemsize
    limit(path, max(size, 8 * size // itemsize), max_bytes, f" ({' x '.join(map(str, shape))} voxels)")
    if ending(path) == ".nii" and offset + size > path.stat().st_size:
        raise ValueError(
            f"{path.name} promises {size:,} bytes of voxels, but the file has {path.stat().st_size:,} bytes: damaged or cut off"
        )
    try:
        volume = nibabel.load(path)
        if not isinstance(volume, (nibabel.Nifti1Image, nibabel.Nifti2Image)):
            raise ValueError(f"{path.name} is no NIfTI file")
        values = np.asarray(volume.dataobj)
        spacing, affine = volume.header.get_zooms(), np.asarray(volume.affine, dtype=np.float64)
        placed = int(volume.header["sform_code"]) > 0 or int(volume.header["qform_code"]) > 0
        notes = () if placed else ("its header states no orientation (neither sform nor qform)",)
        slope, inter = volume.dataobj.slope, volume.dataobj.inter
        if (slope, inter) != (1, 0):
            notes += (f"its header scales stored values, {slope:.6g} v + {inter:.6g}",)
    except (
        OSError,
        EOFError,
        zlib.error,
        struct.error,
        nibabel.filebasedimages.ImageFileError,
        nibabel.spatialimages.HeaderDataError,
    ) as error:
        raise ValueError(f"{path.name} is damaged or cut off: {error}") from error
    while values.ndim > 2 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim > 3:
        raise ValueError(
            f"{path.name} has {values.ndim} axes {values.shape}; one image of 2 or 3 axes is wanted (choose a time point)"
        )
    lengths = tuple(float(length) for length in spacing[: values.ndim])
    known = all(np.isfinite(one) and one > 0 for one in lengths) and (placed or set(lengths) != {1.0})
    return Decoded(values, spacing=lengths if known else (), affine=affine if placed else None, notes=notes)


def _nifti_header(path):
    """Shape, bytes per voxel and offset from the first 544 bytes, before any library reads the file."""
    try:
        with gzip.open(path) if ending(path) == ".nii.gz" else path.open("rb") as stream:
            head = stream.read(544)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path.name} is no readable gzip file: {error}") from error
    for order in "<>":
        if len(head) >= 348 and struct.unpack(f"{order}i", head[:4])[0] == 348:
            dims, kind = struct.unpack(f"{order}8h", head[40:56]), struct.unpack(f"{order}h", head[70:72])[0]
            offset = struct.unpack(f"{order}f", head[108:112])[0]
            break
        if len(head) >= 540 and struct.unpack(f"{order}i", head[:4])[0] == 540:
            dims, kind = struct.unpack(f"{order}8q", head[16:80]), struct.unpack(f"{order}h", head[12:14])[0]
            offset = float(struct.unpack(f"{order}q", head[168:176])[0])
            break
    else:
        raise ValueError(f"{path.name} has no NIfTI header ({len(head)} bytes read)")
    rank = dims[0]
    if not 1 <= rank <= 7 or any(length < 1 for length in dims[1 : rank + 1]):
        raise ValueError(f"{path.name} has impossible dimensions {dims[1:]} in its header")
    if kind not in _NIFTI_BYTES:
        raise ValueError(
            f"{path.name} holds values of NIfTI type {kind}; real numbers are wanted, no colours or complex numbers"
        )
    if not 0 <= offset <= 2**24:
        raise ValueError(
            f"{path.name} puts its voxels at byte {offset:.3g}; at most {2**24:,} bytes of header are read"
        )
    return tuple(int(length) for length in dims[1 : rank + 1]), _NIFTI_BYTES[kind], int(offset)
