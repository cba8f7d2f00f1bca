"""The versions that a result rests on."""

from nmcore.utils.versions import installed_versions


def test_versions_are_text():
    assert all(isinstance(version, str) for version in installed_versions().values())
