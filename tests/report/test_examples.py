"""The section of test examples: what stands in its figures, its captions and its table."""

import dataclasses

import matplotlib.colors
import numpy as np
import pytest

from hwnas_jax import report
from hwnas_jax.report.example_maps import plot_class_maps, plot_value_maps
from hwnas_jax.report.example_plots import in_words, plot_inputs, plot_values
from hwnas_jax.report.style import ALARM, INK, to_svg
from hwnas_jax.train.examples import Examples, keep_examples
from tests.report.run_folders import ACCURACY, read, targets, write

RNG = np.random.default_rng(0)


def examples(inputs, true, said, **more):
    return Examples(np.int32([0, 1, 7]), np.array([False, True, True]), inputs, true, said, **more)


IMAGES = RNG.integers(0, 256, (3, 6, 8, 1)).astype(np.uint8)
COLOURS = RNG.random((3, 6, 8, 3)).astype(np.float32)
SERIES = RNG.standard_normal((3, 1, 30, 4)).astype(np.float32)
CLASSES = examples(IMAGES, np.int32([0, 1, 2]), np.int32([0, 2, 2]))
FIELD = RNG.standard_normal((3, 6, 8, 2)).astype(np.float32)
VALUES = examples(IMAGES, FIELD, FIELD + np.float32(0.25))
MAPS = examples(
    IMAGES, np.int32(FIELD[..., 0] > 0) - (FIELD[..., 1] > 1), np.int32(FIELD[..., 0] > 0)
)
PAIRS = RNG.standard_normal((2, 9, 2)).astype(np.float32)
NUMBERS = examples(
    IMAGES, PAIRS[0, :3], PAIRS[1, :3], true_values=PAIRS[0], said_values=PAIRS[1]
)  # fmt: skip


def titles(figure):
    return [(ax.get_title() or ax.get_title(loc="left")) for ax in figure.axes]


def shown(ax):
    return np.asarray(ax.images[0].get_array())


def test_classes_stand_above_their_images_and_wrong_ones_are_marked():
    figure = plot_inputs(CLASSES, ("cat", "dog"))
    assert titles(figure)[:3] == [
        "example 0\ntrue: cat\npredicted: cat",
        "example 1, largest loss\ntrue: dog\npredicted: 2",
        "example 7, largest loss\ntrue: 2\npredicted: 2",
    ]
    colours = [ax._left_title.get_color() for ax in figure.axes[:3]]
    assert colours == [INK, ALARM, INK]
    for i in range(3):
        np.testing.assert_array_equal(shown(figure.axes[i]), IMAGES[i, ..., 0])
        assert figure.axes[i].images[0].get_clim() == (0, 255)


def test_sequences_are_curves_on_one_scale():
    figure = plot_inputs(examples(SERIES, np.int32([0, 1, 2]), np.int32([0, 1, 2])), ())
    for i, ax in enumerate(figure.axes[:3]):
        drawn = [line.get_ydata() for line in ax.lines]
        np.testing.assert_array_equal(drawn, SERIES[i, 0, :, 2::-1].T)
    assert len({ax.get_ylim() for ax in figure.axes[:3]}) == 1


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.array([1, 0, 1, 1, 1], bool), "a, 2, 3 and 1 more"),
        (np.zeros(2, bool), "none"),
        (np.float32([1234.5, 0.001234]), "1.23e+03, 0.00123"),
        (np.int32(1), "b"),
    ],
)
def test_values_in_words(value, said):
    assert in_words(value, ("a", "b")) == said


def test_class_maps_have_the_colours_of_their_legend():
    figure = plot_class_maps(MAPS, ("low", "high"))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "low",
        "high",
        "no class",
    ]
    of = {
        text.get_text(): matplotlib.colors.to_rgba(patch.get_facecolor())
        for text, patch in zip(
            figure.legends[0].get_texts(), figure.legends[0].get_patches(), strict=True
        )
    }
    for row, classes in ((1, MAPS.targets), (2, MAPS.predicted)):
        for i in range(3):
            image = figure.axes[3 * row + i].images[0]
            drawn = image.cmap(image.norm(image.get_array()))
            for number, name in ((0, "low"), (1, "high"), (-1, "no class")):
                np.testing.assert_allclose(drawn[classes[i] == number], [of[name]] * int(
                    (classes[i] == number).sum()) or np.zeros((0, 4)))  # fmt: skip


def test_truth_and_prediction_share_their_colours_and_the_difference_has_its_own():
    figure = plot_value_maps(VALUES, ("pressure", "flow"))
    rows = np.reshape(figure.axes[:12], (4, 3))
    for i in range(3):
        np.testing.assert_array_equal(shown(rows[1, i]), FIELD[i, ..., 0])
        np.testing.assert_array_equal(shown(rows[2, i]), FIELD[i, ..., 0] + np.float32(0.25))
        np.testing.assert_allclose(shown(rows[3, i]), 0.25, rtol=1e-5)
    limits = {tuple(ax.images[0].get_clim()) for ax in rows[1:3].ravel()}
    assert limits == {(FIELD[..., 0].min(), (FIELD[..., 0] + np.float32(0.25)).max())}
    low, high = rows[3, 0].images[0].get_clim()
    assert low == -high
    assert [ax.get_ylabel() for ax in figure.axes[12:]] == ["pressure", "pressure"]


def test_images_that_are_given_back_keep_their_colours():
    figure = plot_value_maps(examples(COLOURS, COLOURS, COLOURS + 0.1), ())
    rows = np.reshape(figure.axes[:12], (4, 3))
    np.testing.assert_allclose(shown(rows[2, 1]), np.minimum(COLOURS[1] + 0.1, 1))
    np.testing.assert_allclose(shown(rows[3, 1]), 0.1, rtol=1e-5)


def test_values_along_a_sequence_are_curves():
    figure = plot_value_maps(examples(SERIES, SERIES[..., :1], SERIES[..., :1] + 1), ("force",))
    lower = figure.axes[3:6]
    for i, ax in enumerate(lower):
        said, true = ax.lines
        np.testing.assert_array_equal(true.get_ydata(), SERIES[i, 0, :, 0])
        np.testing.assert_array_equal(said.get_ydata(), SERIES[i, 0, :, 0] + 1)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["predicted", "true"]


def test_predicted_stands_over_true():
    figure = plot_values(NUMBERS, ("one", "two"))
    for o, ax in enumerate(figure.axes):
        np.testing.assert_array_equal(ax.lines[1].get_xydata(), PAIRS[:, :, o].T)
    assert titles(figure) == ["one", "two"]
    with pytest.raises(ValueError, match="no values"):
        plot_values(CLASSES, ())


def page(run, kept, task, names=("one", "two", "three"), drawn="<svg></svg>"):
    keep_examples(run, "search-1", kept)
    write(run, "targets.json", targets(1.3, task={**ACCURACY, "name": task, "outputs": [*names]}))
    return report.write_report(run).read_text().replace("\u00a0", " ")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("kept", "task", "said"),
    [
        (CLASSES, "classification", "Titles in orange are wrong."),
        (NUMBERS, "regression", "values of the first 9 test examples, in the units of the data"),
        (VALUES, "dense_regression", "Of the outputs the first, one, is drawn. Values are in the"),
        (MAPS, "segmentation", "The first 2 test examples as they come. Marked are the 2 with"),
        (examples(COLOURS, COLOURS, COLOURS), "autoencoding", "mean over the three colours."),
        (examples(COLOURS, 2 * COLOURS - 1, COLOURS), "surface_normals", "Red, green and blue are"),
        (examples(SERIES, *2 * [np.int32([0, 1, 2])]), "classification", "first 3 channels are"),
        (examples(FIELD, *2 * [np.int32([0, 1, 2])]), "classification", "the first channel is dr"),
    ],
)  # fmt: skip
def test_the_page_says_which_examples_it_shows_and_how(run, kept, task, said):
    assert said in page(run, kept, task)


@pytest.mark.usefixtures("undrawn")
def test_the_page_shows_the_examples_of_every_task(run):
    parts = [
        {"name": "animal", "task": "classification", "outputs": ["cat", "dog", "cow"]},
        {"name": "mood", "task": "my_task", "outputs": ["x"]},
        {"name": "depth", "task": "dense_regression", "outputs": ["metres", "doubt"]},
    ]
    task = {**ACCURACY, "name": "several", "outputs": [], "parts": parts}
    write(run, "targets.json", targets(1.3, task=task))
    keep_examples(run, "search-1", CLASSES, None, VALUES)
    page = report.write_report(run).read_text().replace("\u00a0", " ")
    places = [
        page.index(text)
        for text in (
            "The task animal (classification):", "Titles in orange", "The task depth (dense",
            "Of the outputs the first, metres, is drawn",
        )
    ]  # fmt: skip
    assert places == sorted(places)
    assert "mood" not in page
    assert page.count('id="examples-') == 2


@pytest.mark.usefixtures("undrawn")
def test_a_page_without_examples_has_no_such_section(run):
    assert "On test examples" not in report.write_report(run).read_text()
    odd = dataclasses.replace(CLASSES, targets=FIELD[..., 0], predicted=FIELD[..., 0])
    assert "On test examples" not in page(run, odd, "my_task")


@pytest.mark.usefixtures("undrawn")
def test_all_metrics_of_the_task_are_in_a_table(run):
    networks = read(run, "networks.json")
    for i, entry in enumerate(networks["networks"]):
        entry["test_metrics"] = {"mean_iou": 0.5 + i / 100, "pixel_accuracy": 0.25}
    write(run, "networks.json", networks)
    found = report.write_report(run).read_text()
    row = (
        '<th scope="row">mean iou</th><td>0.5000</td><td>0.5200</td><td>0.5400</td><td>0.5500</td>'
    )
    assert row in found
    assert found.index("pixel accuracy") > found.index("mean iou")


def test_classes_without_a_name_have_no_colour_of_their_own():
    huge = np.where(MAPS.targets > 0, 2**30, MAPS.targets)
    figure = plot_class_maps(dataclasses.replace(MAPS, targets=huge), ("low", "high"))
    assert shown(figure.axes[3]).max() == 2
    unnamed = plot_class_maps(dataclasses.replace(MAPS, targets=huge), ())
    assert [t.get_text() for t in unnamed.legends[0].get_texts()] == ["0", "1", "no class"]


@pytest.mark.parametrize("kept", [MAPS, examples(SERIES, *2 * [np.int32(SERIES[..., 0] > 0)])])
def test_figures_can_be_drawn(kept):
    assert to_svg(plot_class_maps(kept, ("low", "high")), "maps", "").count("<image") >= 6
