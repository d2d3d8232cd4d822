"""What ``auto`` decides, by what it measures, and that a decision once made stays."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import torch
from pytest import approx, fixture, mark, raises
from training_data import make_dataset

import rnfl
from rnfl.storage.paths import cache_root
from rnfl.training import devices, distributed
from rnfl.training.config import RunConfig

CPU, WIDE = torch.device("cpu"), 768
SLOW, FAST = ({"fp32": 100.0, "bf16": rate} for rate in (49.0, 280.0))


@fixture(autouse=True)
def cpu(monkeypatch, tmp_path):
    """A CPU with instructions for bf16, and a cache of the test's own."""
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: True)
    devices._decided.cache_clear()
    yield
    devices._decided.cache_clear()


def measures(monkeypatch, *rates):
    """Let rates be measured, one after the other; return the widths that are asked for."""
    asked, left = [], iter(rates)
    monkeypatch.setattr(devices, "measure_gflops", lambda width: asked.append(width) or next(left))
    return asked


def another_process():
    devices._decided.cache_clear()
    return devices.decide_precision("auto", CPU, WIDE)


@mark.parametrize(
    ("bf16", "chosen"), [(49.0, "fp32"), (100.0, "fp32"), (104.9, "fp32"), (105.1, "bf16")]
)
def test_bf16_has_to_be_clearly_faster(monkeypatch, bf16, chosen):
    measures(monkeypatch, {"fp32": 100.0, "bf16": bf16})
    assert devices.resolve_precision("auto", CPU, WIDE) == chosen


def test_who_asks_gets_what_was_asked_for_and_nothing_is_measured(monkeypatch):
    asked = measures(monkeypatch)
    assert devices.resolve_precision("bf16", CPU, 128) == "bf16"
    assert devices.resolve_precision("fp32", CPU, WIDE) == "fp32"
    with raises(ValueError, match=r"unknown precision 'fp16'.*auto"):
        devices.resolve_precision("fp16", CPU, WIDE)
    assert asked == []


def test_narrow_models_and_old_cpus_stay_in_fp32_unmeasured(monkeypatch):
    asked = measures(monkeypatch)
    said = devices.decide_precision("auto", CPU, 128)
    assert said == {"precision": "fp32", "because": "width 128 is below 384"}
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: False)
    assert devices.resolve_precision("auto", CPU, WIDE) == "fp32"
    assert asked == [] and not cache_root().exists()


@mark.parametrize("supported", [True, False])
def test_a_gpu_takes_bf16_where_it_has_it(monkeypatch, supported):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: supported)
    for width in (128, WIDE):
        chosen = devices.resolve_precision("auto", torch.device("cuda"), width)
        assert chosen == ("bf16" if supported else "fp32")


def test_what_is_measured_once_holds_for_all_processes(monkeypatch):
    asked = measures(monkeypatch, FAST, SLOW, SLOW)
    first = devices.decide_precision("auto", CPU, WIDE)
    assert first["precision"] == "bf16" and not first["cached"]
    assert devices.decide_precision("auto", CPU, WIDE) == first
    assert another_process() == first | {"cached": True}
    assert asked == [WIDE]
    assert devices.resolve_precision("auto", CPU, 1024) == "fp32"  # has a width of its own
    monkeypatch.setattr(torch, "__version__", "99")
    assert another_process()["precision"] == "fp32"


@mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"gflops": {"fp32": 1}}', '{"gflops": {"fp32": 1, "bf16": "fast"}}',
     '{"gflops": {"fp32": 0, "bf16": 9}, "measured": ""}', "\udcff"],
)  # fmt: skip
def test_a_damaged_measurement_is_taken_again(monkeypatch, text):
    measures(monkeypatch, SLOW)
    path = devices.measurement_file(WIDE)
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    said = another_process()
    assert said["precision"] == "fp32" and not said["cached"]
    assert json.loads(path.read_text())["gflops"] == SLOW
    assert another_process()["cached"]


def test_where_nothing_can_be_written_it_is_measured_and_kept_in_the_process(monkeypatch):
    asked = measures(monkeypatch, FAST, SLOW)
    cache_root().write_text("a file where the folder should be")
    assert devices.resolve_precision("auto", CPU, WIDE) == "bf16"
    assert devices.resolve_precision("auto", CPU, WIDE) == "bf16"
    assert another_process()["precision"] == "fp32" and asked == [WIDE, WIDE]


def test_who_was_measured_first_speaks_for_all(monkeypatch):
    """Another process writes while this one measures."""
    path = devices.measurement_file(WIDE)

    def slowly(width):
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"gflops": FAST, "measured": "before"}))
        return SLOW

    monkeypatch.setattr(devices, "measure_gflops", slowly)
    said = devices.decide_precision("auto", CPU, WIDE)
    assert said["precision"] == "bf16" and said["measured"] == "before"


PROCESS = """
import sys
import torch
from rnfl.training import devices, distributed
devices.cpu_has_bf16 = lambda: True
devices.measure_gflops = lambda width: {"fp32": 100.0, "bf16": float(sys.argv[1])}
print(devices.resolve_precision("auto", torch.device("cpu"), 768))
"""


def test_processes_at_once_agree():
    def decided(rate):
        command = [sys.executable, "-c", PROCESS, rate]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    with ThreadPoolExecutor() as pool:
        assert len(set(pool.map(decided, ["50", "200"]))) == 1
    assert json.loads(devices.measurement_file(WIDE).read_text())["gflops"]["fp32"] == 100


def test_rates_are_operations_over_time():
    """Every turn lasts a second by this clock, so that both rates are a step's operations."""
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    rates = devices.measure_gflops(32, clock=count().__next__)
    flop = 3 * (24 * 197 * 32**2 + 4 * 197**2 * 32)
    assert rates == {"fp32": approx(flop / 1e9), "bf16": approx(flop / 1e9)}
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert min(devices.measure_gflops(32).values()) > 0


CONFIG = RunConfig("tiny-slo", "phantom_scratch", "naive", epochs=2, warmup_epochs=0, batch_size=8)


class Killed(Exception):
    pass


def test_a_run_says_why_and_ends_in_the_precision_it_began_in(monkeypatch):
    make_dataset(n=20)
    monkeypatch.setattr(devices, "NARROW", 1)
    asked = measures(monkeypatch, FAST)

    def kill(row):
        raise Killed

    with raises(Killed):
        rnfl.run(CONFIG, report=kill)
    (measured,) = cache_root().glob("precision-128-*.json")
    measured.write_text(measured.read_text().replace("280", "49"))  # fp32, from now on
    devices._decided.cache_clear()
    assert devices.resolve_precision("auto", CPU, 128) == "fp32"
    result = rnfl.run(CONFIG, report=lambda row: None)
    record = json.loads((result.folder / "provenance.json").read_text())
    said = record["precision_decision"]
    assert record["precision"] == said["precision"] == "bf16" and asked == [128]
    assert said["gflops"] == FAST and not said["cached"] and said["measured"].endswith("UTC")
    assert "2.80 times as fast in bf16" in said["because"]


def test_processes_that_train_together_take_the_first_ones_decision(monkeypatch):
    make_dataset(n=20)
    first = {"precision": "bf16", "because": "so it was measured there"}
    agreed = distributed.agreed
    monkeypatch.setattr(
        distributed, "agreed", lambda own: agreed(first if isinstance(own, dict) else own)
    )
    result = rnfl.run(CONFIG, report=lambda row: None)
    record = json.loads((result.folder / "provenance.json").read_text())
    assert record["precision_decision"] == first
