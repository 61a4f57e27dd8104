"""Folders with classes: class folders, domain folders, a fixed split, CIFAR's and MNIST's own files, and their hostile twins."""

import gzip
import pickle
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from lab.datasets import Domains, Points, load
from lab.datasets.classes import layout


def picture(path, seed, size=8, colour=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 255, (size, size, 3) if colour else (size, size), dtype=np.uint8)
    Image.fromarray(values).save(path)
    return values


def class_folders(root, classes=("cat", "dog"), each=10, **options):
    return [
        picture(root / name / f"{k:02}.png", 100 * i + k, **options)
        for i, name in enumerate(classes)
        for k in range(each)
    ]


def test_class_folders_are_a_classification_set(tmp_path):
    values = class_folders(tmp_path)
    found = load(tmp_path)
    assert isinstance(found, Points)
    assert found.x.shape == (20, 1, 8, 8)
    assert found.label.tolist() == [0] * 10 + [1] * 10
    assert found.classes == ("cat", "dog")
    np.testing.assert_allclose(found.x[13, 0].numpy(), values[13] / 255, atol=1e-7)
    assert load(tmp_path, size=4).x.shape == (20, 1, 4, 4)
    torch.testing.assert_close(load(tmp_path, size=4).x[0, 0, 0, 0], found.x[0, 0, :2, :2].mean())


def test_domain_folders_are_domains_and_train_and_test_a_split(tmp_path):
    for name in ("paint", "sketch"):
        class_folders(tmp_path / "art" / name, each=5)
        class_folders(tmp_path / "split" / {"paint": "train", "sketch": "test"}[name], each=5, colour=True)
    art, split = load(tmp_path / "art"), load(tmp_path / "split")
    assert isinstance(art, Domains) and art.names == ("paint", "sketch") and not art.split
    assert split.split and split["train"].x.shape == (10, 3, 8, 8)
    assert any("fixed split" in note for note in split.notes)
    joined = art.joined()
    assert len(joined) == 20 and torch.equal(joined.x[:10], art["paint"].x)


def cifar(root, fine=False, records=4):
    draw = np.random.default_rng(0)
    root.mkdir()
    pixels = draw.integers(0, 255, (6 * records, 3072), dtype=np.uint8)
    labels = draw.integers(0, 100 if fine else 10, 6 * records).astype(np.uint8)
    rows = np.concatenate([labels[:, None], pixels], 1)
    if fine:
        rows = np.concatenate([(labels // 5)[:, None], rows], 1)
        rows[:20].tofile(root / "train.bin")
        rows[20:].tofile(root / "test.bin")
        (root / "fine_label_names.txt").write_text("\n".join(f"c{k}" for k in range(100)))
    else:
        for k in range(5):
            rows[records * k : records * (k + 1)].tofile(root / f"data_batch_{k + 1}.bin")
        rows[5 * records :].tofile(root / "test_batch.bin")
        (root / "batches.meta.txt").write_text("\n".join(f"c{k}" for k in range(10)) + "\n")
    return labels, pixels


@pytest.mark.parametrize("fine", [False, True])
def test_cifar_in_its_binary_version(tmp_path, fine):
    labels, pixels = cifar(tmp_path / "c", fine)
    found = load(tmp_path / "c")
    assert found.split and len(found["train"]) == 20 and len(found.classes) == (100 if fine else 10)
    assert found["train"].label.tolist() == labels[:20].tolist()
    np.testing.assert_allclose(found["test"].x[0].numpy(), pixels[20].reshape(3, 32, 32) / 255, atol=1e-7)
    assert load(tmp_path / "c", size=8)["test"].x.shape[1:] == (3, 8, 8)


def test_cifar_that_lies_is_refused(tmp_path):
    cifar(tmp_path / "c")
    with pytest.raises(ValueError, match="max_bytes"):
        load(tmp_path / "c", max_bytes=10_000)
    file = tmp_path / "c" / "data_batch_2.bin"
    data = file.read_bytes()
    file.write_bytes(data[:-1])
    with pytest.raises(ValueError, match=r"data_batch_2.bin must hold records of 3073 bytes.*cut off"):
        load(tmp_path / "c")
    file.write_bytes(b"\xff" + data[1:])
    with pytest.raises(ValueError, match="label 255 is beyond the 10 classes"):
        load(tmp_path / "c")


def test_pickles_are_never_opened(tmp_path):
    class Harm:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was opened",))

    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(Harm()))
    (tmp_path / "test_batch").write_bytes(b"")
    with pytest.raises(ValueError, match="pickles and are never opened"):
        load(tmp_path)


def idx(file, values):
    data = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()
    file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)


def mnist(root, ending=""):
    draw = np.random.default_rng(0)
    for part, count in (("train", 15), ("t10k", 5)):
        idx(root / f"{part}-images-idx3-ubyte{ending}", draw.integers(0, 255, (count, 28, 28), dtype=np.uint8))
        idx(root / f"{part}-labels-idx1-ubyte{ending}", np.arange(count, dtype=np.uint8) % 10)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_mnist_in_its_own_files(tmp_path, ending):
    mnist(tmp_path, ending)
    found = load(tmp_path)
    assert found.split and found["train"].x.shape == (15, 1, 28, 28) and found["test"].label.tolist() == [0, 1, 2, 3, 4]
    assert load(tmp_path, size=14)["test"].x.shape[1:] == (1, 14, 14)


def test_idx_files_that_lie_are_refused(tmp_path):
    mnist(tmp_path, ".gz")
    bad = tmp_path / "train-images-idx3-ubyte.gz"
    good = bad.read_bytes()
    bad.write_bytes(gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 2**31, 2**31, 2**31)))
    with pytest.raises(ValueError, match="max_bytes"):
        load(tmp_path)
    bad.write_bytes(gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 15, 28, 28) + bytes(10_000_000)))
    with pytest.raises(ValueError, match="states 11,760 values and holds more"):
        load(tmp_path)
    bad.write_bytes(good[:100])
    with pytest.raises(ValueError, match="damaged or cut off"):
        load(tmp_path)
    bad.unlink()
    with pytest.raises(ValueError, match="needs images and labels of both parts"):
        load(tmp_path)


def test_class_folders_that_do_harm_are_refused(tmp_path):
    class_folders(tmp_path, each=2)
    picture(tmp_path / "cat" / "wide.png", 1, size=9)
    with pytest.raises(ValueError, match="2 sizes, from .8, 8. to .9, 9.; say size="):
        load(tmp_path)
    with pytest.raises(ValueError, match="max_bytes"):
        load(tmp_path, size=8, max_bytes=600)
    (tmp_path / "dog" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(ValueError, match="bad.png"):
        load(tmp_path, size=8)
    (tmp_path / "dog" / "bad.png").unlink()
    picture(tmp_path / "loose.png", 1)
    with pytest.raises(ValueError, match="1 images beside its class folders"):
        load(tmp_path, size=8)
    (tmp_path / "loose.png").unlink()
    (tmp_path / "bird").mkdir()
    with pytest.raises(ValueError, match="no image of class 'bird'"):
        load(tmp_path, size=8)
    with pytest.raises(ValueError, match="size is for folders of class folders"):
        load(tmp_path / "cat", size=8)


def test_one_class_is_refused_and_layouts_are_told_apart(tmp_path):
    class_folders(tmp_path, classes=("cat",), each=2)
    with pytest.raises(ValueError, match="at least two"):
        load(tmp_path)
    assert layout(tmp_path) == "classes" and layout(tmp_path / "cat") == ""
