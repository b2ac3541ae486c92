"""Which checkpoints stay."""

from types import SimpleNamespace

import pytest

from kerasjob_api.wire import KeepBest, KeepConfig
from kerasjob_trainer.retention import is_better, kept


def at(step, epoch=0, phase="epochEnd", call=0, keep=(), **metrics):
    position = {"call": call, "epoch": epoch, "step": 0, "phase": phase}
    return SimpleNamespace(id=f"{step}", step=step, position=position, metrics=metrics, keep=list(keep))


def epochs(number, **values):
    """Of ten steps each, the newest first."""
    return [
        at(10 * n, n, **{name: each[n - 1] for name, each in values.items() if n <= len(each)})
        for n in range(number, 0, -1)
    ]


def test_the_newest_stay_with_what_they_need():
    found = kept([at(30, 3, keep=["5"]), at(20, 2, keep=["5"]), at(10, 1), at(5, 1)], KeepConfig(last=2))
    assert found == {"30": ["last"], "20": ["last"], "5": ["needed"]}


def test_one_in_so_many_epochs_stays_for_good_also_once_those_between_are_gone():
    keep = KeepConfig(last=1, every_epochs=3)
    everything = epochs(8)
    found = kept(everything, keep)
    assert found == {"80": ["last"], "30": ["every 3 epochs"], "60": ["every 3 epochs"]}
    left = [manifest for manifest in everything if manifest.id in found]
    assert kept(left, keep) == found


def test_epochs_are_counted_in_each_call_and_steps_over_all():
    manifests = [at(40, 2, "callEnd", call=1), at(30, 1, call=1), at(20, 2, "callEnd"), at(10, 1)]
    assert kept(manifests, KeepConfig(1, every_epochs=2)) == {
        "40": ["last", "every 2 epochs"],
        "20": ["every 2 epochs"],
    }
    assert kept(manifests, KeepConfig(1, every_steps=15)) == {
        "40": ["last"],
        "20": ["every 15 steps"],
        "30": ["every 15 steps"],
    }


def test_a_step_in_an_epoch_is_no_epoch():
    manifests = [at(14, 1, "step"), at(10, 1), at(4, 0, "step")]
    assert "14" not in kept(manifests[:1], KeepConfig(0, every_epochs=1))
    assert kept(manifests, KeepConfig(1, every_steps=4))["4"] == ["every 4 steps"]


@pytest.mark.parametrize(
    ("metric", "mode", "best"),
    [
        ("val_loss", "auto", "20"),
        ("val_accuracy", "auto", "30"),
        ("val_loss", "max", "40"),
        ("val_accuracy", "min", "10"),
        ("missing", "auto", None),
    ],
)
def test_the_best_by_a_metric_stays(metric, mode, best):
    manifests = epochs(5, val_loss=[3.0, 1.0, 2.0, 4.0, float("nan")], val_accuracy=[0.1, 0.2, 0.9, 0.9, 0.3])
    found = kept(manifests, KeepConfig(1, best=KeepBest(metric, mode)))
    assert [id_ for id_, why in found.items() if why != ["last"]] == ([] if best is None else [best])


def test_several_best_ones():
    manifests = epochs(5, loss=[3.0, 1.0, 2.0, 4.0, 5.0])
    found = kept(manifests, KeepConfig(1, best=KeepBest("loss", number=2)))
    assert {id_ for id_, why in found.items() if "best loss" in why} == {"20", "30"}


def test_better_is_strictly_so():
    best = KeepBest("loss")
    assert is_better(best, 1.0, None)
    assert is_better(best, 0.5, 1.0)
    assert not is_better(best, 1.0, 1.0)
    assert not is_better(best, float("nan"), None)
    assert is_better(KeepBest("val_top_k_accuracy"), 2.0, 1.0)
    assert is_better(KeepBest("auc_loss"), 1.0, 2.0)
