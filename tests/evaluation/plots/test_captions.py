"""Every picture has words that say how to read it."""

import pytest

from ldns_ray.evaluation.plots.captions import CAPTIONS, caption

NAMES = [
    "overview", "rasters", "population_counts", "correlations", "isi", "rates", "correlograms", "spectra", "latents",
    "training_curves", "history", "halving", "importances", "parallel_coordinates", "slices",
]  # fmt: skip


def test_every_picture_has_a_caption_of_its_own():
    assert sorted(CAPTIONS) == sorted(NAMES)
    assert all(caption(name) == CAPTIONS[name] for name in NAMES)
    words = [*CAPTIONS.values(), caption("decoded_velocity"), caption("decoded_classes"), caption("reached_velocity")]  # fmt: skip
    assert len(set(words)) == len(words)
    assert all(text.endswith(".") for text in words)


def test_captions_of_covariates_name_them():
    assert "hand_velocity" in caption("decoded_hand_velocity")
    assert "hand_velocity" in caption("reached_hand_velocity")
    assert "class" in caption("decoded_classes")


@pytest.mark.parametrize("name", ["portrait", "decoded_", "reached"])
def test_unknown_pictures_are_refused_with_those_that_there_are(name):
    with pytest.raises(KeyError, match=f"{name}.*overview"):
        caption(name)
