"""The model registry: the best model of each sweep as a version of a name, and the best of those as its champion."""

import contextlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mlflow.entities import LoggedModel, LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from ldns_ray.tracking import notes
from ldns_ray.tracking.experiments import Tracking, public
from ldns_ray.tracking.patience import PatientClient
from ldns_ray.tracking.runs import MODELS

CHAMPION = "champion"
SCORE = "ldns.score"
DATASET = "ldns.dataset"
RUN = "ldns.run"
EXPERIMENT = "ldns.experiment"
LOGGED_MODEL = "ldns.logged_model"
STOOD = "ldns.stood_for_champion"
# The tag from which a logged model's page takes the versions that it links to.
VERSIONS_OF_MODEL = "mlflow.modelVersions"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names that can be part of an address."""


@dataclass(frozen=True)
class Registered:
    """A version of a registered model, and the champion beside it."""

    name: str
    version: int
    champion: bool
    """Whether this version is the champion."""
    champion_version: int
    uri: str
    """Loads the champion, whichever version it is: `models:/NAME@champion`."""
    url: str
    """Where a person sees the version: its page, or its name and the store's file."""
    said: str
    """What has happened, in a sentence."""


def register(
    tracking: Tracking,
    address: str,
    name: str,
    *,
    score: float,
    dataset: str,
    note: str = "",
    tags: Mapping[str, str] | None = None,
) -> Registered:
    """The logged model at `address` as a version of the registered model `name`, which is made if missing.

    address: `models:/m-…`, as `log_model` returns it. score: lower is better. dataset: fingerprint of the training
    data. note: markdown for the version's page. tags: of the version, beside its score, dataset, run and experiment.

    A logged model has one version, however often it is registered, and what was said of it first stays. The first
    time it becomes the champion, unless the champion was trained on the same data and has a better score; from then
    on the title stays where it is: a sweep that is submitted again takes it neither from a later one, nor from the
    version that a person has chosen. Of two processes that register under a name at the same time, the last one's
    champion wins: the registry cannot compare and set.

    Raises ValueError for another address, a model that is not complete, a name that cannot be in an address, and
    a score that is not finite.
    """
    if not math.isfinite(score):
        raise ValueError(f"score must be finite, got {score}. Register a model that was evaluated.")
    if not NAME.fullmatch(name):
        raise ValueError(
            f"A registered model's name must be letters, digits, dots, dashes and underscores, got {name!r}. "
            "Example: ldns-speech"
        )
    client = tracking.client
    model = _logged_model(client, address)
    uri = f"{MODELS}{name}@{CHAMPION}"
    _make_name(client, name, notes.registered_page(name, uri))
    experiment = client.get_experiment(model.experiment_id).name
    own = {
        **(tags or {}), SCORE: repr(float(score)), DATASET: dataset, RUN: model.source_run_id or "",
        EXPERIMENT: experiment, LOGGED_MODEL: model.model_id,
    }  # fmt: skip
    page = notes.version_page(float(score), note, _places(model, dataset))
    version = _only_version(client, name, model, own, page)
    _link_from_model(client, model, version)
    number = int(version.version)
    champion, said = _stand(client, version, float(score), dataset)
    url = f"version {number} of {name} in {tracking.uri}"
    if tracking.uri.startswith("http"):
        url = f"{public(tracking.uri)}/#/models/{name}/versions/{number}"
    return Registered(name, number, champion == number, champion, uri, url, said)


def _logged_model(client: PatientClient, address: str) -> LoggedModel:
    """The model at `models:/m-…`, complete."""
    model_id = address.removeprefix(MODELS)
    if not (address.startswith(MODELS) and model_id.startswith("m-")):
        raise ValueError(
            f"A model must be given by its address models:/m-…, as on its page, got {address!r}."
        )
    try:
        model = client.get_logged_model(model_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise ValueError(f"No logged model {address} in this store. Log it first.") from error
    if model.status != LoggedModelStatus.READY:
        raise ValueError(
            f"The logged model {address} must be complete, got status {model.status}. Log it again."
        )
    return model


def _make_name(client: PatientClient, name: str, description: str) -> None:
    try:
        client.create_registered_model(name, description=description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _versions(client: PatientClient, name: str, model: LoggedModel) -> list[ModelVersion]:
    """The versions that are this logged model, earliest first."""
    found: list[ModelVersion] = []
    token = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        found += [v for v in page if v.tags.get(LOGGED_MODEL) == model.model_id]
        token = page.token
        if not token:
            return sorted(found, key=lambda v: int(v.version))


def _only_version(
    client: PatientClient, name: str, model: LoggedModel, tags: Mapping[str, str], page: str
) -> ModelVersion:
    """The version that is this logged model, made if missing."""
    found = _versions(client, name, model)
    if not found:
        client.create_model_version(
            name,
            # Not `models:/m-…`, which a store without a server looks up in whichever store the process uses by default.
            source=model.artifact_location,
            run_id=model.source_run_id,
            model_id=model.model_id,
            tags=dict(tags),
            description=page,
        )
        found = _versions(client, name, model)
    # A request that was sent again, since its answer was lost, has made several.
    first, *others = found
    for other in others:
        client.delete_model_version(name, str(other.version))
    return first


def _link_from_model(client: PatientClient, model: LoggedModel, version: ModelVersion) -> None:
    """Let the logged model's page link to the version, as a server does by itself."""
    tags = client.get_logged_model(model.model_id).tags
    linked = json.loads(tags.get(VERSIONS_OF_MODEL, "[]"))
    if (version.name, int(version.version)) not in [(v["name"], int(v["version"])) for v in linked]:
        linked.append({"name": version.name, "version": int(version.version)})
        client.set_logged_model_tags(model.model_id, {VERSIONS_OF_MODEL: json.dumps(linked)})


def _places(model: LoggedModel, dataset: str) -> dict[str, str]:
    """Where a version came from."""
    pages = f"#/experiments/{model.experiment_id}"
    places = {
        "Model": notes.link(f"logged as `{MODELS}{model.model_id}`", f"{pages}/models/{model.model_id}")
    }  # fmt: skip
    if model.source_run_id:
        places["Run"] = notes.link(f"`{model.source_run_id}`", f"{pages}/runs/{model.source_run_id}")  # fmt: skip
    return places | {"Training data": f"fingerprint `{dataset}`"}


def _stand(
    client: PatientClient, version: ModelVersion, score: float, dataset: str
) -> tuple[int, str]:
    """Make the version the champion if it is to be: the champion's version, and what has happened."""
    name, number = version.name, int(version.version)
    entry = f"Registered as {name} version {number}, score {score:.2f}"
    present = client.get_registered_model(name).aliases.get(CHAMPION)
    if present is None:
        outcome = "the first champion"
    elif int(present) == number:
        client.set_model_version_tag(name, str(number), STOOD, "true")
        return number, f"{entry}: it is the champion."
    else:
        champion = client.get_model_version(name, str(present))
        held = f"version {present}"
        theirs = _score(champion)
        if STOOD in version.tags:
            return int(present), f"{entry}: {held} stays the champion."
        if champion.tags.get(DATASET) != dataset:
            outcome = f"now the champion, in place of {held}, which was trained on other data"
        elif theirs < score:
            client.set_model_version_tag(name, str(number), STOOD, "true")
            return int(present), f"{entry}: {held} stays the champion, with {theirs:.2f}."
        else:
            outcome = f"now the champion, in place of {held}" + (
                f", with {theirs:.2f}" if math.isfinite(theirs) else ""
            )
    client.set_registered_model_alias(name, CHAMPION, str(number))
    # After the title: where this process ends in between, the version stands again.
    client.set_model_version_tag(name, str(number), STOOD, "true")
    return number, f"{entry}: {outcome}."


def _score(version: ModelVersion) -> float:
    """The score that a version was registered with; infinite where someone made it by hand, without one."""
    with contextlib.suppress(KeyError, ValueError):
        return float(version.tags[SCORE])
    return math.inf
