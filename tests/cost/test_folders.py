"""The order of the folders of `cost`: who may import whom."""

from tests.test_rooms import MODULES, imported

FOLDERS = ("files", "simulate", "models", "measure", "judge")
"""The lowest first. A module imports from its own folder and from lower ones."""


def place(module: str) -> int | None:
    """Returns the place of a module's folder in the order, and None for one outside `cost`.

    The door, `cost/__init__.py`, imports from all folders, so its place is above them all.
    """
    room, _, rest = module.partition(".")
    if room != "cost":
        return None
    return FOLDERS.index(rest.split(".")[0]) if rest else len(FOLDERS)


PLACES = {module: place(module) for module in MODULES if place(module) is not None}


def test_every_folder_and_the_door_are_there():
    assert set(PLACES.values()) == set(range(len(FOLDERS) + 1))


def test_no_module_imports_from_a_folder_above_its_own():
    """Imports inside functions count too."""
    upwards = [
        (module, other)
        for module, own in PLACES.items()
        for other in imported(MODULES[module])
        if PLACES.get(other, -1) > own
    ]
    assert upwards == []
