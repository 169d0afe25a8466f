"""Parameters of the QGIS plugin are the command's options, and become its arguments."""

from dataclasses import fields
from typing import get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksdiff.evaluation.run import DEFAULT_BORDER, DEFAULT_METHODS
from ksdiff.inference.options import Method, SharpenOptions
from ksdiff.io.input_options import InputOptions
from ksdiff.io.output_options import OutputOptions
from ksdiff.sensors import SENSORS
from tests.support.qgis import plugin

options = plugin("options")
EVERY = {
    option.name: option
    for group in (options.SHARPENING, options.READING, options.WRITING)
    for option in group
}
ELSEWHERE = {"bands", "cog", "co"}  # parameters of their own, or not offered


@pytest.mark.parametrize("kind", [SharpenOptions, InputOptions, OutputOptions])
def test_every_option_is_offered_with_the_commands_default(kind):
    for field in fields(kind):
        if field.name not in ELSEWHERE:
            assert EVERY[field.name].default == field.default, field.name


def test_choices_are_those_that_the_command_takes():
    for name, hint in get_type_hints(SharpenOptions).items():
        choices = get_args(hint)
        if choices and all(isinstance(choice, str) for choice in choices):
            assert EVERY[name].choices == choices, name
    assert set(options.SENSORS) == set(SENSORS)
    assert set(options.METHODS) == set(get_args(Method)) == set(DEFAULT_METHODS)
    for option in (*options.READING, *options.WRITING):
        for choice in option.choices:
            InputOptions(**{option.name: choice}) if option in options.READING else OutputOptions(
                **{option.name: choice}
            )
    assert options.BORDER.default == DEFAULT_BORDER


values = st.fixed_dictionaries(
    {},
    optional={
        option.parameter: st.sampled_from(option.choices)
        if option.choices
        else st.booleans()
        if isinstance(option.default, bool)
        else st.integers(1, 8).map(lambda n: 256 * n)
        if isinstance(option.default, int)
        else st.sampled_from(["auto", "0.5", ""])
        for option in EVERY.values()
        if option.name != "weights"
    },
)


@given(values)
def test_arguments_give_the_command_what_was_chosen(chosen):
    words = options.arguments(EVERY.values(), chosen)
    got, flags = {}, {option.flag: option for option in EVERY.values()}
    while words:
        option = flags[words.pop(0)]
        kind = type(option.default)
        got[option.name] = (
            True if kind is bool else int(words.pop(0)) if kind is int else words.pop(0)
        )
    given_values = {name.lower(): value for name, value in chosen.items() if value != ""}
    for kind in (SharpenOptions, InputOptions, OutputOptions):
        names = {field.name for field in fields(kind)}
        told = {name: value for name, value in got.items() if name in names}
        meant = {name: value for name, value in given_values.items() if name in names}
        assert kind(**told) == kind(**meant)


def test_creation_options_come_one_by_one():
    assert options.creation_options("COMPRESS=LZW|PREDICTOR=2|") == [
        *("--co", "COMPRESS=LZW"),
        *("--co", "PREDICTOR=2"),
    ]
    assert options.creation_options("") == []
