import pytest

from celesta.errors import StoreError
from celesta.store.base import Store, blob_key, check_key, step_prefix


@pytest.mark.parametrize(
    ("path", "quoted"),
    [
        ("train", "train"),
        ("train[3]", "train%5B3%5D"),
        ("train#2", "train%232"),
        ("a/b", "a%2Fb"),
        ("..", "%2E%2E"),
        (".", "%2E"),
    ],
)
def test_a_step_path_is_one_component_of_its_prefix(path: str, quoted: str) -> None:
    assert step_prefix("r1", path, "1.1") == f"runs/r1/{quoted}/1.1/"
    check_key(step_prefix("r1", path, "1.1") + "result.json")


def test_long_step_paths_are_cut_and_stay_apart() -> None:
    one, other = step_prefix("r", "é" * 300 + "1", "1.1"), step_prefix("r", "é" * 300 + "2", "1.1")
    assert one != other
    assert len(one) < 200
    check_key(one + "result.json")


@pytest.mark.parametrize("digest", ["", "abc", "../../etc/passwd", "A" * 64])
def test_a_blob_has_a_digest_for_a_name(digest: str) -> None:
    with pytest.raises(StoreError, match="is not a digest"):
        blob_key(digest)


def test_a_store_that_only_takes_blobs_refuses_the_rest_for_good() -> None:
    class Blobs(Store):
        url = "http://server"

    with pytest.raises(StoreError, match=r"http://server takes no create\(\)") as caught:
        Blobs().create("key", b"")
    assert not caught.value.retryable
