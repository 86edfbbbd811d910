from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.cloud.errors import GoogleError
from infra.local.cloud.store import Store

_KEYS = st.text(alphabet="ab/\u00e9\U0001f600z", min_size=1, max_size=5)


def test_documents_come_back_as_fresh_copies(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("c", "k", {"list": [1]})
    first = store.get("c", "k")
    assert first is not None
    first["list"].append(2)
    assert store.get("c", "k") == {"list": [1]}
    assert store.get("c", "other") is None
    assert store.delete("c", "k")
    assert not store.delete("c", "k")


def test_documents_survive_a_new_process_of_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("c", "k", {"a": "ü"})
    # Not closed: a killed process closes nothing.
    again = Store(tmp_path)
    assert again.get("c", "k") == {"a": "ü"}
    assert [again.next_number("s") for _ in range(3)] == [1, 2, 3]
    assert Store(tmp_path).next_number("s") == 4


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def half() -> None:
        with store.transaction():
            store.put("c", "a", {})
            with store.transaction():
                store.put("c", "b", {})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert store.count("c") == 0
    with store.transaction():
        store.put("c", "a", {})
    assert store.count("c") == 1


@given(keys=st.sets(_KEYS, max_size=12), prefix=st.one_of(st.just(""), _KEYS), size=st.integers(1, 5))
def test_pages_are_the_sorted_keys_with_the_prefix(
    tmp_path_factory: pytest.TempPathFactory, keys: set[str], prefix: str, size: int
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    for key in keys:
        store.put("c", key, {"key": key})
    found: list[str] = []
    token = ""
    while True:
        page = store.list("c", prefix, size, token)
        assert len(page.items) <= size
        found += [item["key"] for item in page.items]
        token = page.next_page_token
        if not token:
            break
    # SQLite compares text by its UTF-8 bytes, which order as code points do.
    assert found == sorted((key for key in keys if key.startswith(prefix)), key=str.encode)
    store.close()


@pytest.mark.parametrize("token", ["x", "!!!!", "eHh4", "\u00fc"])
def test_a_token_of_somebody_else_is_refused(tmp_path: Path, token: str) -> None:
    with pytest.raises(GoogleError, match="page token"):
        Store(tmp_path).list("c", page_token=token)
