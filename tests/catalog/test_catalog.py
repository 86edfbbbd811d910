"""The catalogue's answers: look-ups, prices, quotas, flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.recipes import QuotaRef, StackError, UnknownMachine, UnknownModel, catalog
from infra.recipes.catalog import Catalog
from infra.recipes.prices import VERTEX_FACTOR, price_of

BOOKS = catalog()


def test_it_is_read_once() -> None:
    assert catalog() is BOOKS
    assert BOOKS.model("meta-llama/Llama-3.2-1B") is BOOKS.model("meta-llama/Llama-3.2-1B")


def test_unknown_model_and_machine() -> None:
    with pytest.raises(UnknownModel) as model:
        BOOKS.model("meta-llama/Llama-3.2-2B")
    assert model.value.choices[0] in {"meta-llama/Llama-3.2-1B", "meta-llama/Llama-3.2-3B"}
    with pytest.raises(UnknownMachine) as machine:
        BOOKS.machine("a3-highgpu-16g")
    assert machine.value.choices[0].startswith("a3-highgpu-")


@pytest.mark.parametrize(
    "name", ["", "/", "a/b/c", "../models/x", "meta-llama/../../etc", "a\n/b", "METALLAMA/x"]
)
def test_ids_that_are_no_ids(name: str) -> None:
    with pytest.raises(UnknownModel):
        BOOKS.model(name)


def test_a_broken_card_names_its_file(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "org"
    folder.mkdir(parents=True)
    (folder / "bad.yaml").write_text("id: org/bad\n")
    with pytest.raises(StackError, match=r"bad\.yaml: is not a model card"):
        Catalog(tmp_path).model("org/bad")


def test_machines() -> None:
    big = BOOKS.machine("a3-highgpu-8g")
    assert (big.vcpus, big.memory_gib, big.accelerators) == (208, 1872, (("NVIDIA_H100_80GB", 8),))
    small = BOOKS.machine("n1-standard-8")
    assert small.counts("NVIDIA_TESLA_T4") == (1, 2, 4)
    assert "NVIDIA_TESLA_V100" in small.accelerator_types
    assert BOOKS.accelerator("NVIDIA_L4").compute_capability == (8, 9)
    assert BOOKS.accelerator("NVIDIA_GB200").cpu_arch == "arm"
    assert BOOKS.accelerator("NVIDIA_TESLA_A100").usable_gib_low == 39.38


def test_regions() -> None:
    assert BOOKS.serves("us-central1", "NVIDIA_L4")
    assert not BOOKS.serves("us-west4", "NVIDIA_TESLA_A100")  # trains there, does not serve
    assert not BOOKS.serves("mars-north1", "NVIDIA_L4")
    assert "africa-south1" in BOOKS.regions()


def test_published_price_wins() -> None:
    price = BOOKS.price("g2-standard-12", "us-central1")
    assert price is not None
    assert price.usd_per_hour == 1.15069
    assert price.derivation == "published for prediction"


@pytest.mark.parametrize("machine", ["g2-standard-12", "a2-highgpu-1g"])
def test_the_derivation_agrees_with_what_is_published(machine: str) -> None:
    published = BOOKS.price(machine, "us-central1")
    rows = [row for row in BOOKS._price_rows if row["product"] == "gce"]
    derived = price_of(rows, machine, "us-central1", spot=False, gpu=None)
    assert published is not None
    assert derived is not None
    assert derived.usd_per_hour == pytest.approx(published.usd_per_hour, rel=2e-4)
    assert derived.derivation.startswith("1.15 x Compute Engine")


def test_local_ssd_makes_it_slightly_high_and_says_so() -> None:
    published = BOOKS.price("a2-ultragpu-1g", "us-central1")
    rows = [row for row in BOOKS._price_rows if row["product"] == "gce"]
    derived = price_of(rows, "a2-ultragpu-1g", "us-central1", spot=False, gpu=None)
    assert published is not None
    assert derived is not None
    assert published.usd_per_hour < derived.usd_per_hour < 1.01 * published.usd_per_hour
    assert "375 GiB of local SSD" in derived.derivation


def test_derived_price() -> None:
    price = BOOKS.price("g2-standard-96", "us-central1")
    assert price is not None
    assert price.usd_per_hour == pytest.approx(VERTEX_FACTOR * 8.00333)
    assert price.date == "2026-07-30"
    assert price.source


def test_spot_price_is_spot_plus_the_fee() -> None:
    price = BOOKS.price("g2-standard-12", "us-central1", spot=True)
    assert price is not None
    assert price.usd_per_hour == pytest.approx(0.562408 + 0.15 * 1.000416, abs=1e-6)
    assert "management fee" in price.derivation


def test_n1_is_priced_with_its_gpus() -> None:
    assert BOOKS.price("n1-standard-8", "us-central1") is None
    price = BOOKS.price(
        "n1-standard-8", "us-central1", accelerator_type="NVIDIA_TESLA_T4", accelerator_count=2
    )
    assert price is not None
    assert price.usd_per_hour == pytest.approx(1.15 * (0.379998 + 2 * 0.35))


@pytest.mark.parametrize(
    ("machine", "region", "spot"),
    [
        ("a4-highgpu-8g", "us-central1", False),
        ("g2-standard-12", "africa-south1", False),
        ("nothing", "us-central1", False),
    ],
)
def test_an_unknown_price_is_none(machine: str, region: str, spot: bool) -> None:
    assert BOOKS.price(machine, region, spot) is None


def test_every_known_price_is_positive() -> None:
    for machine in BOOKS.machines():
        for region in BOOKS.regions():
            for spot in (False, True):
                kind, count = machine.accelerators[0]
                price = BOOKS.price(
                    machine.machine_type, region, spot, accelerator_type=kind, accelerator_count=count
                )
                assert price is None or price.usd_per_hour > 0


def test_quotas() -> None:
    gpu = BOOKS.quota("NVIDIA_L4")
    assert gpu == QuotaRef(
        "CustomModelServingL4GPUsPerProjectPerRegion",
        "aiplatform.googleapis.com/custom_model_serving_nvidia_l4_gpus",
    )
    spot = BOOKS.quota("NVIDIA_L4", True)
    assert spot is not None
    assert spot.quota_id == "CustomModelServingPreemptibleL4GPUsPerProjectPerRegion"
    assert BOOKS.quota("CPU", True) == QuotaRef("CustomModelServingPreemptibleCPUsPerProjectPerRegion", "")
    assert BOOKS.quota("NVIDIA_TESLA_P4", True) is None
    assert BOOKS.quota("NVIDIA_TESLA_X") is None
    assert gpu in BOOKS.quotas()
    assert BOOKS.quota_default(gpu.quota_id, "us-central1") == 28
    assert BOOKS.quota_default(gpu.quota_id, "us-south1") is None
    assert BOOKS.quota_default("CustomModelServingA10080GBGPUsPerProjectPerRegion", "us-central1") == 1


def test_quota_use_counts_both_sides() -> None:
    uses = BOOKS.quota_use("a3-highgpu-8g", "NVIDIA_H100_80GB", 8, 2)
    assert [(use.quota.quota_id, use.amount) for use in uses] == [
        ("CustomModelServingH100GPUsPerProjectPerRegion", 16),
        ("CustomModelServingCPUsPerProjectPerRegion", 416),
    ]
    spot = BOOKS.quota_use("g2-standard-48", "NVIDIA_L4", 4, 1, spot=True)
    assert [(use.quota.quota_id, use.amount) for use in spot] == [
        ("CustomModelServingPreemptibleL4GPUsPerProjectPerRegion", 4),
        ("CustomModelServingPreemptibleCPUsPerProjectPerRegion", 48),
    ]


def test_flags_by_version() -> None:
    old, new = BOOKS.flags("0.6.2"), BOOKS.flags("0.20.0")
    assert "--swap-space" in old
    assert "--swap-space" not in new
    assert "--speculative-config" in new
    assert "--no-enable-lora" in BOOKS.flags("0.9.2")
    assert "--no-enable-lora" not in old
    assert "--model-type" in old
    assert old.takes_value("--max-model-len") is True
    assert old.takes_value("--enforce-eager") is False
    assert old.takes_value("--enable-chunked-prefill") is None
    assert old.takes_value("--quantization") is True
    assert old.takes_value("--nothing") is None
    assert new.replaced["--swap-space"].removed_in == "0.18.0"


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("0.6.2", "0.6.2"),
        ("0.6.5", "0.6.4.post1"),
        ("0.11.1", "0.11.0"),
        ("0.5.0", "0.6.2"),
        ("0.31.0", "0.20.0"),
        ("1.0", "0.32.0"),
    ],
)
def test_the_closest_older_version_stands_in(asked: str, given: str) -> None:
    assert BOOKS.flags(asked).version == given
