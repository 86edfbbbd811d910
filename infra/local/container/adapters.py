"""Dynamic LoRA: adapters that requests name, loaded from the local cloud's buckets and kept as vLLM keeps them.

What vLLM reads is read: the configuration, and the weights' names and shapes. Its checks and texts are those of
``vllm/lora/worker_manager.py``, ``peft_helper.py`` and ``lora_model.py`` of 0.6.2 to 0.32.0. What Google's build says
to a client about an adapter that cannot be loaded is not published; vLLM's own text is passed on.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from infra.cards import ModelCard
from infra.cards.adapter import CONFIG, WEIGHTS, AdapterConfig, AdapterError, parse_config
from infra.cards.checkpoint import CheckpointError, tensors_of
from infra.local.container.contract import ObjectReader
from infra.recipes.adapters import is_repository, objections, objections_to_tensors
from infra.recipes.catalog import catalog

_PICKLES: Final = ("adapter_model.bin", "adapter_model.pt")


class AdapterRefused(Exception):
    """An adapter that vLLM cannot load; the text is its own."""


@dataclass(frozen=True)
class Loaded:
    """An adapter in memory: how it was named, and its rank (None: of the hub, whose adapters are not looked into)."""

    name: str
    rank: int | None


@dataclass
class Adapters:
    """The adapters of one container: at most ``capacity`` (``--max-cpu-loras``), the least recently used one goes.

    ``max_rank`` is ``--max-lora-rank``. One that is loaded is not read again, whatever lies under its name by now:
    ``LRUCacheWorkerLoRAManager.add_adapter`` knows it by its id alone.
    """

    card: ModelCard
    version: str
    max_rank: int
    capacity: int
    biases: bool
    objects: ObjectReader | None
    _loaded: OrderedDict[str, Loaded] = field(default_factory=OrderedDict)

    def load(self, name: str) -> Loaded:
        """The adapter of this name: a ``gs://`` prefix or a Hugging Face id.

        Raises:
            AdapterRefused: it is not there, may not be read, or is none that this model and these options take.
        """
        if name in self._loaded:
            self._loaded.move_to_end(name)
            return self._loaded[name]
        while len(self._loaded) >= self.capacity:
            self._loaded.popitem(last=False)
        found = self._from_bucket(name) if name.startswith("gs://") else self._from_hub(name)
        self._loaded[name] = found
        return found

    def _from_hub(self, name: str) -> Loaded:
        """The hub here is simulated and knows models only: whatever reads like an id and is no model is an adapter."""
        if not is_repository(name) or name in catalog().models():
            raise AdapterRefused(_not_found(name))
        return Loaded(name, None)

    def _from_bucket(self, uri: str) -> Loaded:
        prefix = uri.rstrip("/") + "/"
        try:
            names = [] if self.objects is None else self.objects.list(prefix)
            if self.objects is None or prefix + CONFIG not in names:
                raise AdapterRefused(_not_found(uri))
            config = parse_config(self.objects.read(prefix + CONFIG))
            self._check(config)
            if prefix + WEIGHTS in names:
                self._check_weights(uri, self.objects.read(prefix + WEIGHTS))
            elif not any(prefix + each in names for each in _PICKLES):
                raise AdapterRefused(f"{uri} doesn't contain tensors")
        except PermissionError as error:
            raise AdapterRefused(f"{uri} cannot be read: {error}") from None
        except FileNotFoundError:
            raise AdapterRefused(_not_found(uri)) from None
        except AdapterError as error:
            raise AdapterRefused(f"Loading lora {uri} failed: {error.problem}") from None
        return Loaded(uri, config.rank)

    def _check(self, config: AdapterConfig) -> None:
        """``PEFTHelper.validate_legal``: everything at once, in its words."""
        said = []
        if config.modules_to_save:
            said.append("vLLM only supports modules_to_save being None.")
        if config.use_dora:
            said.append("vLLM does not yet support DoRA.")
        if config.rank > self.max_rank:
            said.append(f"LoRA rank {config.rank} is greater than max_lora_rank {self.max_rank}.")
        if config.bias != "none" and not self.biases:
            said.append("Adapter bias is not supported.")
        if not said:
            found = objections(config, self.card, max_rank=self.max_rank, version=self.version, biases=True)
            said = [each.text for each in found if each.fatal]
        if said:
            raise AdapterRefused(" ".join(said))

    def _check_weights(self, uri: str, data: bytes) -> None:
        try:
            length = int.from_bytes(data[:8], "little")
            tensors = tensors_of(json.loads(data[8 : 8 + length]), WEIGHTS)
        except (CheckpointError, ValueError, AttributeError):
            raise AdapterRefused("Error while deserializing header: InvalidHeaderDeserialization") from None
        found = objections_to_tensors(
            tensors, self.card, max_rank=self.max_rank, version=self.version, biases=self.biases
        )
        fatal = next((each.text for each in found if each.fatal), None)
        if fatal is not None:
            raise AdapterRefused(f"While loading {uri}: {fatal}")


def _not_found(name: str) -> str:
    return f"Loading lora {name} failed: No adapter found for {name}"
