import re

import pytest

from torchedge.errors import UnknownNameError
from torchedge.exporting import plugins
from torchedge.exporting.unknown_targets import HINTS, hint_for, plain


def said(name):
    with pytest.raises(UnknownNameError) as caught:
        plugins.target(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_target_that_a_hint_names_is_there():
    named = {name for hint in HINTS.values() for name in re.findall(r"'([a-z0-9-]+)'", hint)}
    assert named <= set(plugins.target_names())


def test_no_hint_stands_for_a_name_that_is_taken():
    assert not set(HINTS) & {plain(name) for name in plugins.target_names()} - {"esp32s3"}


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("nano", "'jetson-nano'.*'arduino-nano-33-ble'"),
        ("pico", "'rp2040'"),
        ("coral", "'coral-edge-tpu'"),
        ("tensorrt", "'jetson-orin-nano'.*'desktop-gpu'"),
        ("TFLite", "'android'"),
        ("Raspberry Pi", "'raspberry-pi-4' and 'raspberry-pi-5'"),
        ("raspberry_pi_5", "'raspberry-pi-5'"),
        ("Arduino", "'arduino-nano-33-ble'"),
        ("esp32s3", "'esp32-s3'"),
        ("stm32", "'stm32f4' and 'stm32h7'"),
        ("gpu", "'desktop-gpu'"),
        ("CPU", "'onnx-cpu'"),
        ("onnx", "'onnx-cpu'"),
        ("mcu", "microcontrollers are"),
        ("orin", "'jetson-agx-orin'"),
        ("web", "ONNX Runtime Web runs the .onnx file of 'onnx-cpu'"),
        ("iPhone", "planned and not built yet"),
        ("coreml", "planned"),
        ("openvino", "reads the .onnx file of 'onnx-cpu'"),
        ("hailo", "is not supported: its compiler"),
        ("rockchip", "not supported"),
        ("qualcomm", "not supported.*'android'"),
        ("SNPE", "not supported"),
        ("ethos-u", "Vela"),
        ("executorch", "not supported"),
        ("ncnn", "not supported"),
        ("k210", "quantises by itself"),
        ("openvinno", "reads the .onnx file"),
        ("toaster", "there are android, arduino-nano-33-ble"),
        ("", "there are android"),
    ],
)
def test_what_people_type_is_answered_with_what_there_is(typed, told):
    assert re.search(told, said(typed))


@pytest.mark.parametrize("typed", ["iphone", "pico", "hailo", "ios", "toaster", "onxx", "web"])
def test_nothing_unrelated_is_offered_for_its_spelling(typed):
    assert "the nearest is" not in said(typed)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("Jetson", "jetson"),
        ("JETSON_NANO", "jetson-nano"),
        ("jetson nano", "jetson-nano"),
        ("andriod", "android"),
        ("raspbery-pi-4", "raspberry-pi-4"),
    ],
)
def test_another_spelling_of_a_name_is_recognised(typed, meant):
    assert f"the nearest is '{meant}'" in said(typed)
    assert hint_for(typed, plugins.target_names()) == f"the nearest is '{meant}'"


def test_what_is_no_text_is_no_name():
    assert "is a NoneType" in said(None)
    assert "is a int" in said(5)
