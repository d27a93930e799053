from __future__ import annotations

import pickle

import pytest

from turnwise import OMIT, Model
from turnwise.types.model import ModelConfig


def test_a_name_alone_travels_as_it_is() -> None:
    assert str(Model("vendor/large")) == "vendor/large"


def test_settings_travel_in_the_order_they_were_given() -> None:
    assert str(Model("m", temperature=0.5, max_tokens=20)) == "m/temperature=0.5/maxTokens=20"
    assert str(Model("m", max_tokens=20, temperature=0.5)) == "m/maxTokens=20/temperature=0.5"


def test_settings_may_be_a_mapping_in_the_wires_names_and_keywords_win() -> None:
    assert str(Model("m", {"maxTokens": 5, "topK": 3}, max_tokens=6)) == "m/maxTokens=6/topK=3"


def test_falsy_settings_travel() -> None:
    assert str(Model("m", {"x": False, "y": True}, temperature=0, seed=0, region="")) == (
        "m/x=false/y=true/temperature=0/seed=0/region="
    )


def test_what_is_none_or_omitted_is_left_out() -> None:
    assert str(Model("m", {"a": None, "b": OMIT})) == "m"


@pytest.mark.parametrize(
    "value,text",
    [
        (1.0, "1"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (-2.5, "-2.5"),
        (1e-5, "0.00001"),
        (1e-7, "1e-7"),
        (1.5e-7, "1.5e-7"),
        (1e16, "10000000000000000"),
        (123456789012345680000.0, "123456789012345680000"),
        (1e21, "1e+21"),
        (1.25e300, "1.25e+300"),
    ],
)
def test_floats_are_written_as_javascript_writes_them(value: float, text: str) -> None:
    assert str(Model("m", temperature=value)) == f"m/temperature={text}"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "a/b", [1]])
def test_a_value_that_could_not_be_read_back_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="a model's setting is a"):
        Model("m", {"x": value})


@pytest.mark.parametrize("name", ["", "a=b"])
def test_a_name_that_could_not_be_read_back_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a model's name"):
        Model(name)


def test_an_unknown_keyword_is_refused_with_the_settings_there_are() -> None:
    with pytest.raises(TypeError, match=r"unexpected setting 'temprature'; there are .*temperature.*mapping"):
        Model("m", temprature=0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    "text,name,config,extra",
    [
        ("m", "m", ModelConfig(), {}),
        ("a/b/temperature=0/maxTokens=5", "a/b", ModelConfig(temperature=0.0, max_tokens=5), {}),
        ("m/region=eu=1/topK=3", "m", ModelConfig(region="eu=1"), {"topK": "3"}),
        ("m/interactionMaxMessages=4/seed=-1", "m", ModelConfig(interaction_max_messages=4, seed=-1), {}),
    ],
)
def test_a_string_is_read_from_its_first_setting_on(
    text: str, name: str, config: ModelConfig, extra: dict[str, str]
) -> None:
    model = Model.parse(text)
    assert (model.name, model.config, model.extra) == (name, config, extra)
    assert str(model) == text


@pytest.mark.parametrize(
    "text,complaint",
    [
        ("m/temperature=1/more", "goes on with 'more' where key=value was expected"),
        ("m/a=1/=2", "goes on with '=2'"),
        ("/temperature=1", "a model's name"),
        ("m/temperature=hot", r"cannot be read: Expected `float`.*\$\.temperature"),
        ("m/maxTokens=1.5", "cannot be read: Expected `int`"),
    ],
)
def test_a_string_that_is_no_model_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Model.parse(text)


def test_models_are_equal_when_their_strings_are() -> None:
    assert Model("m", temperature=0) == Model.parse("m/temperature=0")
    assert len({Model("m"), Model("m"), Model("n")}) == 2
    assert Model("m") != "m"


def test_a_model_shows_its_string_and_survives_pickling() -> None:
    model = Model("m", seed=1)
    assert repr(model) == "Model.parse('m/seed=1')"
    assert repr(Model("m")) == "Model('m')"
    assert pickle.loads(pickle.dumps(model)) == model  # noqa: S301 - pickled here
