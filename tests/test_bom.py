"""The bill of materials names what is installed, with its licence."""

import json
from email.message import Message
from importlib import metadata

import pytest
from packaging.utils import canonicalize_name

from lab.cli.bom import bill, licence


def test_bill_lists_every_installed_package_once_with_version_and_licence():
    content = json.loads(bill())
    assert (content["bomFormat"], content["specVersion"]) == ("CycloneDX", "1.5")
    listed = {part["name"]: part for part in content["components"]}
    assert len(listed) == len(content["components"])
    installed = {canonicalize_name(part.metadata["Name"]) for part in metadata.distributions()} - {"objective-lab"}
    assert set(listed) == installed
    assert listed["torch"]["version"] == metadata.version("torch")
    assert listed["nh3"]["licenses"][0]["license"]["name"] not in ("", "not stated")
    assert content["metadata"]["component"]["name"] == "objective-lab"


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [([("License-Expression", "MIT"), ("License", "x")], "MIT"),
     ([("Classifier", "License :: OSI Approved :: BSD License"), ("License", "x")], "BSD License"),
     ([("License", "Apache 2.0\nlong text")], "Apache 2.0"), ([], "not stated")],
)  # fmt: skip
def test_licence_is_what_the_package_states(fields, wanted):
    stated = Message()
    for name, value in fields:
        stated[name] = value
    assert licence(stated) == wanted
