"""Pictures of a lineage: whole, within their frame, and safe against hostile text."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

from aiida_slhmc.provenance import drawing


def test_pictures_hold_every_generation(found):
    picture = ElementTree.fromstring(drawing.svg(found))
    text = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    graph = drawing.dot(found)
    for number, one in enumerate(found.generations):
        assert f"weights {one.state_sha256[:12]}" in text
        assert f'model_{number} [label="' in graph
    assert re.findall(r"(model_\d) -> (model_\d)", graph) == [("model_0", "model_1"), ("model_1", "model_2")]
    # Nothing sticks out of the picture.
    width, height = float(picture.get("width")), float(picture.get("height"))
    for box in picture.iter("{http://www.w3.org/2000/svg}rect"):
        if box.get("x"):
            assert float(box.get("x")) + float(box.get("width")) <= width
            assert float(box.get("y")) + float(box.get("height")) <= height


def test_text_of_levels_is_no_markup(found):
    hostile = replace(found, levels=[{**found.levels[0], "functional": '<script> & "PBE"'}])
    picture = drawing.svg(hostile)
    assert "<script>" not in picture
    texts = [element.text for element in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert 'einstein <script> & "PBE"' in texts
    assert 'einstein <script> & \\"PBE\\"' in drawing.dot(hostile)


def test_a_foundation_stands_alone(found):
    alone = replace(found, generations=found.generations[:1])
    assert "->" not in drawing.dot(alone)
    assert "labels" not in drawing.dot(alone)
    assert "marker-end" not in drawing.svg(alone)
