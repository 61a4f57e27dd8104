"""Every data set by name, and the user's own files by path.

::

    load(name_or_path, *, seed=0, max_bytes=2**30, scale=None, target=None, ...) -> ImageSet | Table | Points | Domains
    pair(prediction, label, *, image=None, scale=None, activation=None) -> ImageSet      a user's own files or arrays
    names(kind=None) -> tuple[str, ...]          kind: "image" | "volume" | "table" | "points" | "classification"
    describe(name) -> Card                       title, kind, source, licence, shape, how label and predictions were made
    cards(kind=None) -> tuple[Card, ...]

``ImageSet(image, label, prediction, spacing, predictions, colour, name, affine)`` is one image or several.
    One image: ``image`` float32 in [0, 1] of shape (height, width) or (depth, height, width); ``label`` bool or integer ids
    of the same shape, or None; ``prediction`` float32 probabilities in [0, 1] of the same shape, or None; ``spacing`` one
    length per axis. ``predictions`` maps a variant to a prediction: all of them have the SAME Dice against the label at
    threshold 0.5 and differ in topology: ``"boundary"`` (no new feature: the same pixels in error, on the outline),
    ``"islands"`` (false components), ``"holes"`` (false holes), ``"breaks"`` (cut components), ``"bridges"`` (joined
    components). ``prediction`` is the variant ``"mixed"``. Several images (a folder of files): the three fields are tuples.
    Either way ``for item in data`` yields single images, ``len(data)`` counts them, ``data[i]`` is one.
    ``data.variant("holes")`` is the same set with that prediction.

``Table(frame, target, name)``: a pandas frame and the name of its target column (or None).
    ``.numeric(missing="refuse" | "drop" | "mean")`` -> (x (rows, columns), y (rows,) or None, column names).

``notes`` of each say what reading did and what columns become; the object shows them, and so do ``lab datasets PATH`` and
the pages.

``read_mesh(path)``: a user's triangles from OBJ, STL or PLY, ``TriangleMesh(vertices, faces, notes)``.

``Points(x, label, name, classes)``: ``x`` of shape (items, features...), ``label`` (items,) int64, float or None. Image
    classification sets have ``x`` of shape (items, channels, height, width) in [0, 1].

``Sound(x, rate, name, notes)``: one channel of samples in [-1, 1], of a WAV file; a folder of WAV files gives a tuple of them.

Generators take their sizes as arguments: ``lab.datasets.smooth_field``, ``vessel_tree``, ``noisy_circle``, ``spirals``,
``blobs``, ``moons``, ``clusters``, ``textures``, ``mnist``, ``mnist1d``, ``equal_dice_predictions`` (see their modules);
``load`` calls them with the sizes on their cards. No global random state is read or written: ``seed: int | torch.Generator``.

A folder of class folders, of domain folders, of ``train`` and ``test``, or of CIFAR's or MNIST's own files: ``load("folder")``, see
    :mod:`lab.datasets.classes`.

Several domains: ``from lab.datasets.domains import domains, rotated, noisy, blurred, contrast, inverted, coloured``;
    ``domains(points, [rotated(0), rotated(30)])`` and a user's ``own_domains(path, column="site")`` give ``Domains``: named
    ``Points`` of equal features, ``leave_out(name) -> (sources, target)``. :mod:`lab.training.left_out` evaluates on each in turn.

Nothing of scikit-image, scikit-learn, nibabel or pandas is imported before a set is loaded.
"""

from lab.datasets.catalog import Card as Card
from lab.datasets.catalog import cards as cards
from lab.datasets.catalog import describe as describe
from lab.datasets.catalog import names as names
from lab.datasets.clouds import blobs as blobs
from lab.datasets.clouds import clusters as clusters
from lab.datasets.clouds import moons as moons
from lab.datasets.clouds import noisy_circle as noisy_circle
from lab.datasets.clouds import spirals as spirals
from lab.datasets.domains import own_domains as own_domains
from lab.datasets.fields import smooth_field as smooth_field
from lab.datasets.files import pair as pair
from lab.datasets.files import read_array as read_array
from lab.datasets.loading import as_table as as_table
from lab.datasets.loading import load as load
from lab.datasets.meshes import TriangleMesh as TriangleMesh
from lab.datasets.meshes import read_mesh as read_mesh
from lab.datasets.moves import moved as moved
from lab.datasets.numerals import mnist as mnist
from lab.datasets.numerals import mnist1d as mnist1d
from lab.datasets.patches import textures as textures
from lab.datasets.predictions import equal_dice_predictions as equal_dice_predictions
from lab.datasets.sets import Domains as Domains
from lab.datasets.sets import ImageSet as ImageSet
from lab.datasets.sets import Points as Points
from lab.datasets.sets import Table as Table
from lab.datasets.sounds import Sound as Sound
from lab.datasets.sounds import read_wav as read_wav
from lab.datasets.sounds import wav_bytes as wav_bytes
from lab.datasets.tubes import tube_network as tube_network
from lab.datasets.vessels import vessel_tree as vessel_tree
from lab.training.metrics import dice as dice
