"""Where URIs and data paths lead on this machine."""

import json
from pathlib import Path

import pytest

from kerasjob.local.outcome import SavedAt, newest_checkpoint
from kerasjob.local.uris import UriMap, localized
from kerasjob_api.constants import SavePhase
from kerasjob_api.wire import CheckpointConfig, DataSource, ProgramConfig, WorkerConfig

STATE = Path("/state")


def mapped(*options, use_s3=False):
    return UriMap.parse(options, STATE, use_s3)


@pytest.mark.parametrize(
    ("uri", "here"),
    [
        ("s3://b/data/", "file:///state/s3/b/data/"),
        ("s3://b/data/x.npz", "file:///state/s3/b/data/x.npz"),
        ("s3://b", "file:///state/s3/b"),
        ("/mnt/data", "file:///mnt/data"),
        ("/mnt/my data/", "file:///mnt/my%20data/"),
        ("file:///mnt/my%20data", "file:///mnt/my%20data"),
    ],
)
def test_without_a_map_a_bucket_is_a_directory_of_the_state(uri, here):
    assert mapped().local(uri) == here


def test_the_longest_prefix_wins_by_whole_segments():
    uris = mapped("s3://b/=/one", "s3://b/data/=/two", "s3://c/x=/three")
    assert uris.local("s3://b/data/x/") == "file:///two/x/"
    assert uris.local("s3://b/data/") == "file:///two/"
    assert uris.local("s3://b/database/") == "file:///one/database/"
    assert uris.local("s3://c/x/y") == "file:///three/y"
    assert uris.local("s3://c/xy") == "file:///state/s3/c/xy"


def test_with_s3_what_is_not_mapped_stays_there():
    uris = mapped("s3://b/data/=/two", use_s3=True)
    assert uris.local("s3://b/data/x") == "file:///two/x"
    assert uris.local("s3://b/ckpt/") == "s3://b/ckpt/"


def config(path, checkpoint=None):
    return WorkerConfig(
        "default", "a", "u", 1, 7, ProgramConfig("t.py"), (DataSource("s3://b/d/", path),), checkpoint=checkpoint
    )


def test_a_data_path_that_can_be_made_is_kept(tmp_path):
    assert localized(config(f"{tmp_path}/d"), mapped(), Path("/w"), 1).data[0].path == f"{tmp_path}/d"


@pytest.mark.parametrize("path", ["/no-such-place/d", "/top-level"])
def test_any_other_goes_to_the_workers_own_directory(path):
    assert localized(config(path), mapped(), Path("/w"), 1).data[0].path == f"/w/data{path}"


def test_state_is_kept_even_where_no_checkpoint_is_given():
    assert localized(config("/x"), mapped(), Path("/w"), 1).checkpoint.uri == "file:///state/checkpoints"
    given = CheckpointConfig("s3://b/c/", every_epochs=2)
    assert localized(config("/x", given), mapped(), Path("/w"), 1).checkpoint == CheckpointConfig(
        "file:///state/s3/b/c/", 2
    )


def test_the_newest_checkpoint_is_by_ring_revision_then_step_then_phase(tmp_path):
    manifests = tmp_path / "uid" / "manifests"
    manifests.mkdir(parents=True)
    for number, (revision, step, phase) in enumerate(
        [(1, 300, "callEnd"), (2, 100, "step"), (2, 200, "epochEnd"), (2, 200, "step")]
    ):
        position = {"call": 0, "epoch": 1, "step": 50 * (phase == "step"), "phase": phase}
        (manifests / f"{number}.json").write_text(
            json.dumps({"ringRevision": revision, "step": step, "position": position})
        )
    (manifests / "9.json").write_text("{half")
    assert newest_checkpoint(tmp_path, "uid") == SavedAt(200, 0, 1, 0, SavePhase.EPOCH_END)
    assert newest_checkpoint(tmp_path, "other") is None


def test_where_a_checkpoint_stands_is_said_in_the_counting_of_people():
    at = SavedAt(114, 0, 1, 14, SavePhase.STEP)
    assert str(at) == "step 114; goes on in fit call 1, epoch 2 after its step 14"
    assert str(SavedAt(100, 0, 1, 0, SavePhase.EPOCH_END)) == "step 100; goes on in fit call 1, epoch 2"
    assert str(SavedAt(300, 0, 3, 0, SavePhase.CALL_END)) == "step 300, the end of fit call 1"
