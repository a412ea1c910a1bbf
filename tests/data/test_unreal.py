"""Data that are not real: labels drawn or made by a rule, pixels shuffled, images rendered."""

import dataclasses
import itertools

import numpy as np
import pytest
import scipy.stats
from sklearn.neighbors import KNeighborsClassifier

from hwnas_jax.data import (
    Colour,
    DataConfig,
    Digits,
    Jigsaw,
    Noise,
    RandomLabels,
    Rotation,
    ShuffledPixels,
    Textures,
    load_data,
)
from hwnas_jax.data.pipeline import augmentation
from hwnas_jax.data.unreal.jigsaw import far_permutations
from hwnas_jax.data.unreal.textures import LOWEST, SHAPES, edges, frequencies
from hwnas_jax.errors import UserError
from tests.data import tiny_sets

PARTS = ("train", "test")
COLOURED = "textures,examples=60,height=8,width=8"


def coloured():
    """Returns the data of the source that is called `COLOURED`."""
    return Textures(examples=60, height=8, width=8).load()


def uniform(labels, classes):
    """Returns the p-value of the hypothesis that every class is equally likely."""
    return scipy.stats.chisquare(np.bincount(labels, minlength=classes)).pvalue


def parts(data, kind="inputs"):
    return [getattr(data, f"{part}_{kind}") for part in PARTS]


def test_random_labels_are_uniform_and_know_nothing_of_the_images():
    real, data = Digits().load(), RandomLabels().load()
    for part in PARTS:
        own, drawn = getattr(real, f"{part}_targets"), getattr(data, f"{part}_targets")
        np.testing.assert_array_equal(
            getattr(real, f"{part}_inputs"), getattr(data, f"{part}_inputs")
        )
        assert drawn.dtype == np.int32
        assert uniform(drawn, 10) > 1e-3
        table = np.histogram2d(own, drawn, bins=10)[0]
        assert scipy.stats.chi2_contingency(table).pvalue > 1e-3
    assert data.output_names == real.output_names
    assert "chance" in data.notes[-1]


def test_random_labels_are_of_as_many_classes_as_asked_for():
    data = RandomLabels(classes=3).load()
    assert data.num_outputs == 3
    assert uniform(data.train_targets, 3) > 1e-3
    of_values = RandomLabels(of="gratings,examples=40", classes=2).load()
    assert of_values.task == "classification" and of_values.train_inputs.dtype == np.float32


def test_train_labels_do_not_depend_on_the_test_part():
    whole, half = (RandomLabels(test_fraction=share).load() for share in (0.2, 0.5))
    few = len(half.train_targets)
    np.testing.assert_array_equal(whole.train_targets[:few], half.train_targets)


def test_noise_is_normal_and_its_labels_uniform():
    data = Noise(height=3, width=5, channels=2, classes=4, examples=4000).load()
    assert data.input_shape == (3, 5, 2)
    assert [len(part) for part in parts(data)] == [3200, 800]
    assert scipy.stats.kstest(data.train_inputs.ravel()[:20_000], "norm").pvalue > 1e-3
    assert uniform(data.train_targets, 4) > 1e-3
    means = [data.train_inputs[data.train_targets == k].mean(0) for k in range(4)]
    assert np.abs(means).max() < 5 / np.sqrt(700)


def test_one_order_shuffles_all_pixels_and_is_undone_by_its_inverse():
    real, source = Digits().load(), ShuffledPixels(seed=4)
    data, order = source.load(), source.orders("train", 1, 64)[0]
    assert sorted(order) == list(range(64)) and (order != np.arange(64)).mean() > 0.8
    for own, shuffled in zip(parts(real), parts(data), strict=True):
        flat = shuffled.reshape(len(own), 64)
        np.testing.assert_array_equal(flat[:, np.argsort(order)], own.reshape(len(own), 64))
    np.testing.assert_array_equal(real.train_targets, data.train_targets)
    assert augmentation(data, DataConfig()) == (0, False)


def test_orders_of_their_own_differ_and_keep_the_values_and_channels_of_each_image():
    real, source = coloured(), ShuffledPixels(of=COLOURED, per_image=True)
    data, orders = source.load(), source.orders("train", 48, 64)
    assert len(np.unique(orders, axis=0)) == 48
    for own, shuffled, order in zip(real.train_inputs, data.train_inputs, orders, strict=True):
        np.testing.assert_array_equal(shuffled.reshape(64, 3), own.reshape(64, 3)[order])


@pytest.mark.parametrize(("grid", "permutations"), [(2, 24), (4, 30)])
def test_a_jigsaw_is_solved_by_its_class(grid, permutations):
    real, source = Digits().load(), Jigsaw(grid=grid, permutations=permutations, seed=1)
    data, side = source.load(), 8 // grid
    assert data.num_outputs == permutations
    for own, cut, labels in zip(parts(real), parts(data), parts(data, "targets"), strict=True):
        counts = np.bincount(labels, minlength=permutations)
        assert counts.max() - counts.min() <= 1
        for number in range(40):
            order = [int(tile) for tile in data.output_names[labels[number]].split("-")]
            laid = np.zeros_like(own[number])
            for place, tile in enumerate(order):
                (row, column), (down, right) = divmod(tile, grid), divmod(place, grid)
                laid[row * side : (row + 1) * side, column * side : (column + 1) * side] = cut[
                    number, down * side : (down + 1) * side, right * side : (right + 1) * side
                ]
            np.testing.assert_array_equal(laid, own[number])


def distances(permutations):
    return [int((a != b).sum()) for a, b in itertools.combinations(permutations, 2)]


@pytest.mark.parametrize(("tiles", "count"), [(4, 4), (5, 5), (9, 9)])
def test_permutations_lie_as_far_apart_as_can_be(tiles, count):
    """As many permutations as tiles can differ in all places, as the rows of a Latin square do."""
    found = far_permutations(tiles, count, np.random.default_rng(0))
    assert all(sorted(row) == list(range(tiles)) for row in found)
    drawn = np.random.default_rng(1).permuted(np.tile(np.arange(tiles), (count, 1)), axis=1)
    assert min(distances(found)) >= tiles - 1 > min(distances(drawn))
    assert np.mean(distances(found)) > np.mean(distances(drawn))


def test_all_permutations_of_few_tiles_are_there_once():
    found = far_permutations(4, 24, np.random.default_rng(0))
    assert {tuple(row) for row in found} == set(itertools.permutations(range(4)))


def test_permutations_of_many_tiles_differ():
    found = far_permutations(16, 60, np.random.default_rng(0))
    assert min(distances(found)) >= 13


def test_turned_images_are_turned_back_and_all_versions_are_there():
    real, data = Digits().load(), Rotation(repeats=4).load()
    count = len(real.train_inputs)
    assert len(data.train_inputs) == 4 * count
    seen = {}
    for number, (image, label) in enumerate(
        zip(data.train_inputs, data.train_targets, strict=True)
    ):
        turned = image
        for _ in range(label):  # to the right again: rows from below become columns
            turned = turned[::-1].swapaxes(0, 1)
        np.testing.assert_array_equal(turned, real.train_inputs[number % count])
        seen.setdefault(number % count, set()).add(int(label))
    assert all(labels == {0, 1, 2, 3} for labels in seen.values())
    assert data.output_names == ("0", "90", "180", "270")


def test_orders_of_channels_are_told_by_their_names():
    real, data = coloured(), Colour(of=COLOURED).load()
    assert set(data.output_names) == {"".join(p) for p in itertools.permutations("RGB")}
    for own, image, label in zip(
        real.train_inputs, data.train_inputs, data.train_targets, strict=True
    ):
        for channel, letter in enumerate(data.output_names[label]):
            np.testing.assert_array_equal(image[..., channel], own[..., "RGB".index(letter)])


def test_a_hue_turned_by_a_third_changes_the_channels_and_greys_stay():
    source = Colour(of=COLOURED, by="hue", turns=3)
    assert source.names() == ("0", "120", "240")
    pixels = np.random.default_rng(0).integers(0, 256, (5, 2, 2, 3), dtype=np.uint8)
    np.testing.assert_array_equal(source.change(pixels, 0), pixels)
    np.testing.assert_array_equal(source.change(pixels, 1), pixels[..., [2, 0, 1]])
    np.testing.assert_array_equal(source.change(pixels, 2), pixels[..., [1, 2, 0]])
    grey = np.repeat(pixels[..., :1], 3, axis=-1)
    np.testing.assert_array_equal(Colour(by="hue", turns=7).change(grey, 3), grey)
    floats = pixels.astype(np.float32)
    back = Colour(by="hue", turns=8).change(Colour(by="hue", turns=8).change(floats, 3), 5)
    np.testing.assert_allclose(back, floats, atol=1e-3)


def test_shapes_have_the_same_area_and_lie_in_the_middle():
    grid = np.linspace(-1.6, 1.6, 801)
    inside = np.asarray(edges(*np.meshgrid(grid, grid))) > 0
    assert len(inside) == len(SHAPES)
    cell = (grid[1] - grid[0]) ** 2
    np.testing.assert_allclose(inside.sum((1, 2)) * cell, np.pi, rtol=0.01)
    for shape in inside:
        down, right = np.argwhere(shape).mean(0)
        assert (down, right) == (pytest.approx(400, abs=1), pytest.approx(400, abs=1))
    for name, inside_middle in zip(SHAPES, inside[:, 400, 400], strict=True):
        assert inside_middle == (name != "ring")


def test_textures_are_told_apart_by_simple_classifiers():
    """Hue by the mean colour, wave by the spectrum, shape by its moments about its middle."""
    source = Textures(height=32, width=32, shapes=4, examples=640, noise=0.02)
    data, classes = source.load(), np.array(source.classes)
    assert data.num_outputs == 16 and np.bincount(data.train_targets).min() >= 31
    looks = [[look(images) for look in (moments, spectrum, hue)] for images in parts(data)]
    for place, least in enumerate((0.85, 0.95, 0.98)):
        told, asked = (classes[labels][:, place] for labels in parts(data, "targets"))
        nearest = KNeighborsClassifier(5).fit(looks[0][place], told)
        assert nearest.score(looks[1][place], asked) > least, place


def saturation(images):
    values = images / 255.0
    return values.max(-1) - values.min(-1)


def hue(images):
    red, green, blue = np.moveaxis(images.mean((1, 2)) / 255.0, -1, 0)
    return np.stack([red - green, green - blue], axis=1)


def spectrum(images):
    """Power at each distance from the middle of the plane of frequencies, of what is coloured."""
    power = np.abs(np.fft.fft2(saturation(images))) ** 2
    away = np.hypot(*np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32)))
    rings = [power[:, (away >= low) & (away < low + 0.05)].sum(-1)
             for low in np.arange(LOWEST - 0.05, 0.5, 0.05)]  # fmt: skip
    rings = np.stack(rings, axis=1)
    return rings / rings.sum(1, keepdims=True)


def moments(images):
    """Moment of inertia and threefold symmetry of the covered pixels, free of size and place."""
    found = []
    for mask in saturation(images) > 0.12:
        places = np.argwhere(mask) - np.argwhere(mask).mean(0)
        turn = places @ np.array([1j, 1])
        inertia = (np.abs(turn) ** 2).mean() / len(places)
        middle = (np.abs(turn) ** 2 < 0.05 * len(places)).sum() / (0.05 * np.pi * len(places))
        threefold = abs((turn**3).mean()) / (np.abs(turn) ** 3).mean()
        fourfold = abs((turn**4).mean()) / (np.abs(turn) ** 4).mean()
        found.append([10 * inertia, middle, threefold, 2 * fourfold])
    return np.array(found)


def test_frequencies_are_evenly_spaced_and_can_be_shown():
    for waves in (1, 2, 3, 4):
        found = frequencies(waves)
        assert len(found) == waves and found.max() < 0.5
        if waves > 2:
            np.testing.assert_allclose(found[1:] / found[:-1], found[1] / found[0])


def test_a_source_is_read_by_its_path(tmp_path):
    tiny_sets.write_image_folder(tmp_path)
    config = DataConfig(name="random_labels", path=str(tmp_path), args={"classes": 4})
    data = load_data(config)
    own = load_data(DataConfig(path=str(tmp_path)))
    np.testing.assert_array_equal(data.train_inputs, own.train_inputs)
    np.savez(tmp_path / "set.npz", images=tiny_sets.IMAGES, labels=tiny_sets.LABELS)
    source = RandomLabels(path=str(tmp_path / "set.npz"))
    before = source.load().train_inputs
    np.savez(tmp_path / "set.npz", images=255 - tiny_sets.IMAGES, labels=tiny_sets.LABELS)
    np.testing.assert_array_equal(source.load().train_inputs, 255 - before)
    (tmp_path / "set.npz").unlink()
    with pytest.raises(UserError, match=r"data\.name = 'idx' reads"):
        RandomLabels(of="idx", path=str(tmp_path)).load()


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("random_labels", {"of": "gratings"}, "gratings is made for the task regression"),
        ("random_labels", {"of": "digit"}, r"unknown data set 'digit'.*Did you mean 'digits'"),
        ("random_labels", {"of": "digits,side=3"}, "unknown option of the data set digits 'side'"),
        ("random_labels", {"of": "idx,subset="}, "options are written OPTION=VALUE"),
        ("random_labels", {"path": "nowhere"}, "there is no such file or folder"),
        ("jigsaw", {"grid": 3}, "grid = 3 does not divide the 8x8 pixels.*allowed are 2, 4, 8"),
        ("jigsaw", {"permutations": 25}, "permutations = 25 must be at most 24"),
        ("rotation", {"of": "digits_multi_label"}, "needs square images.*have 8x16 pixels"),
        ("rotation", {"repeats": 5}, "there are 4, so at most 4 are allowed"),
        ("rotation", {"of": "noise,height=1"}, "are sequences of the length 8"),
        ("colour", {}, "needs images of three channels.*digits have 1"),
        ("textures", {"channels": 1, "colours": 2}, "colours = 2 need channels = 3"),
        ("textures", {"shapes": 1, "waves": 1, "colours": 1}, "which is one class"),
    ],
)
def test_what_cannot_be_made_is_refused(name, args, message):
    with pytest.raises(UserError, match=message):
        load_data(DataConfig(name=name, args=args))


def test_grey_images_of_three_channels_have_no_colour_to_change(tmp_path):
    grey = np.repeat(tiny_sets.IMAGES[..., :1], 3, axis=-1)
    np.savez(tmp_path / "grey.npz", images=grey, labels=tiny_sets.LABELS)
    config = DataConfig(name="colour", path=str(tmp_path / "grey.npz"))
    with pytest.raises(UserError, match="are grey: their three channels are the same"):
        load_data(config)


@pytest.mark.parametrize("name", ["jigsaw", "rotation"])
def test_images_whose_class_is_where_things_are_do_not_move(name):
    with pytest.raises(UserError, match=r"set data\.flip = False"):
        load_data(DataConfig(name=name, flip=True))
    assert augmentation(load_data(DataConfig(name=name)), DataConfig()) == (0, False)


def test_pixels_that_have_targets_move_with_them():
    real = Digits().load()
    dense = dataclasses.replace(
        real, train_targets=real.train_inputs[..., 0] > 9, test_targets=real.test_inputs[..., 0] > 9
    )
    data = ShuffledPixels().remake(dense)
    np.testing.assert_array_equal(data.train_targets, data.train_inputs[..., 0] > 9)
    assert (data.train_targets != dense.train_targets).any()
