"""How the settings of a computed method depart from those of its file, and the title that says so."""

from collections.abc import Mapping, Sequence
from typing import Any

from repro.configuration.compose import Config
from repro.configuration.defaults import defaults
from repro.configuration.files import groups
from repro.configuration.schema import EXTERNAL
from repro.predictions import Prediction


def departures(method: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are not those of the method's file; all settings if the method's file is gone.

    Predictions that came from a file have none.
    """
    if settings.get("_target_") == EXTERNAL:
        return {}
    known = method in groups()["influence"]
    usual = defaults(method).solver_settings if known else {}
    return {key: value for key, value in settings.items() if key not in usual or value != usual[key]}


def method_titles(config: Config, predictions: Sequence[Prediction]) -> dict[str, str]:
    """What each method is called in figures and on the page: its title, and its departures behind it."""
    titles = dict(config["plot"]["titles"])
    return {
        found.method: ", ".join(
            [
                _of_model(config, titles.get(found.method, found.method)),
                *(f"{key} {value}" for key, value in departures(found.method, found.record.settings).items()),
            ]
        )
        for found in predictions
    }


def _of_model(config: Config, title: str) -> str:
    """The paper's panels are of a linear model: another one's are called by its own name."""
    model = config.choices["model"]
    return title if model.startswith("logistic") else title.replace("Linear (", f"{model.capitalize()} (")
