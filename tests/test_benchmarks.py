"""Every benchmark runs with its smallest arguments; what it measures here proves nothing."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from rnfl.storage.paths import project_root

FOLDER = project_root() / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    """Let the scripts find each other, as they do when they are started."""
    monkeypatch.syspath_prepend(str(FOLDER))


def smoke(name, output, *arguments):
    """Run a benchmark and return its record."""
    module = pytest.importorskip(name, reason=f"{name}.py, or a module that it needs, is absent")
    module.main(["--smoke", "--output", str(output), *arguments])
    (path,) = output.glob("*.json")
    return json.loads(path.read_text(encoding="utf-8"))


def assert_positive(values):
    assert values
    assert all(math.isfinite(value) and value > 0 for value in values.values()), values


def assert_says_where_it_comes_from(record):
    assert record["smoke"] is True and record["commit"] and record["when"].endswith("UTC")
    assert record["machine"]["cores"] >= 1 and record["machine"]["threads"] >= 1
    assert record["versions"]["torch"]
    text = json.dumps(record)
    assert str(project_root()) not in text and str(Path.home()) + "/" not in text


@pytest.mark.parametrize("name", ["prefix", "feed", "bootstrap"])
def test_smoke(name, tmp_path):
    record = smoke(name, tmp_path)
    assert_says_where_it_comes_from(record)
    assert_positive(record["ratios"])
    assert_positive(record["medians"])
    assert record["rows"]


def test_throughput_compares_precisions_and_feeds(tmp_path, monkeypatch):
    """And says what 'auto' chose; on a CPU without bf16 there is one precision less."""
    import throughput

    monkeypatch.setattr(throughput.devices, "cpu_has_bf16", lambda: False)
    monkeypatch.setattr(throughput.measure, "matmul_rate", lambda *given: 1e12)
    record = smoke("throughput", tmp_path)
    assert_says_where_it_comes_from(record)
    (row,) = record["rows"]
    assert set(row["times"]) == {"fp32", "auto", "NpzImages", "InMemory"} == set(row["spread"])
    assert row["best"] == row["decision"]["precision"] == "fp32" and row["decision"]["because"]
    kinds = ("ratio in memory", "ratio in fp32", "auto of best")
    assert set(record["ratios"]) == {"tiny", *(f"tiny, {kind}" for kind in kinds)}
    once = {name: row[name] for name in row if name.startswith(("validation", "checkpoint"))}
    assert len(once) == 3
    for values in (record["ratios"], record["medians"], once):
        assert_positive(values)


def test_retrained(tmp_path):
    record = smoke("retrained", tmp_path)
    assert_says_where_it_comes_from(record)
    (row,) = record["rows"]
    assert row["here"] > 0 and row["committed"] is None  # a smoke run is in no committed table


def test_deployment(tmp_path):
    pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
    record = smoke("deployment", tmp_path)
    assert_says_where_it_comes_from(record)
    (row,) = record["rows"]
    assert row["apart"] <= 1e-4 and row["bundle p95 ms"] >= row["bundle p50 ms"] > 0
    assert row["run peak_mb"] > 1.2 * row["bundle peak_mb"]  # torch alone takes more
    assert_positive(record["ratios"])
    assert_positive(record["medians"])


def test_dicom(tmp_path):
    pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
    record = smoke("dicom", tmp_path)
    assert_says_where_it_comes_from(record)
    assert [row["stored"] for row in record["rows"]] == ["plain", "RLE", "JPEG"]
    assert all(row["p95 s"] >= row["p50 s"] > 0 for row in record["rows"])


def test_false_alarms(tmp_path, monkeypatch):
    import false_alarms

    monkeypatch.setattr(false_alarms, "NULLS", dict(list(false_alarms.NULLS.items())[:1]))
    monkeypatch.setattr(false_alarms, "photographs", lambda most: {"absent": "not asked for"})
    record = smoke("false_alarms", tmp_path)
    assert_says_where_it_comes_from(record)
    assert len(record["rows"]) == 2 and record["orders"][0]["eyes"] == 5


def test_reachable_floor(tmp_path, data_root):
    record = smoke("reachable_floor", tmp_path)
    (row,) = record["rows"]
    assert row["template"] > row["label noise"] > 0 and row["mae"] > 0 and row["n"] > 0
    assert record["settings"]["phantom"] == 2


def test_growth(tmp_path, monkeypatch):
    import growth

    drawn = []
    monkeypatch.setattr(growth.figures, "make_all", lambda *folders: drawn.append(folders))
    record = smoke("growth", tmp_path)
    assert_says_where_it_comes_from(record)
    assert {row["job"] for row in record["rows"]} == set(growth.JOBS)
    assert_positive(record["medians"])
    assert all(math.isfinite(value) for value in record["ratios"].values())
    assert len(drawn) == len(record["settings"]["sizes"])


def test_gpu_script_runs_its_pieces_and_writes_down_what_fails(tmp_path, monkeypatch, capsys):
    import gpu

    def broken(*given):
        raise RuntimeError("a card of clay")

    monkeypatch.setattr(gpu, "micro_batch", broken)
    pieces = ["ViT-S/16 eager", "strategies", "resume", "micro-batch"]
    arguments = ["--smoke", "--output", str(tmp_path), "--pieces", *pieces]
    assert gpu.main(arguments) == 1
    (path,) = tmp_path.glob("gpu-*.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert_says_where_it_comes_from(record)
    assert record["failed"] == {"micro-batch": "RuntimeError: a card of clay"}
    assert_positive(record["ratios"])
    assert record["resume"]["to the bit"] is True
    flops = [row["GFLOP a step and image"] for row in record["strategies"]["rows"]]
    everything, half, adapters, probe = flops
    assert probe < half < everything and probe < adapters < everything


def test_gpu_script_says_so_without_a_gpu(monkeypatch, capsys):
    import gpu

    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 1
    assert "No CUDA device" in capsys.readouterr().out


def test_gpu_pieces_are_skipped_when_the_budget_is_spent(tmp_path, monkeypatch, capsys):
    import gpu

    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu.devices, "choose_device", lambda: gpu.torch.device("cpu"))
    monkeypatch.setattr(gpu.measure, "matmul_rate", lambda *given: 1e12)
    gpu.main(["--minutes", "0", "--output", str(tmp_path)])
    assert capsys.readouterr().out.count("is skipped") == len(gpu.EXPECTED)


def throughput_record(speed=2.0):
    rows = [
        {"backbone": name, "ours img/s": speed / cost}
        for name, cost in (("ViT-S/16", 1), ("ViT-B/16", 4), ("ViT-L/16", 16))
    ]
    return {"rows": rows, "machine": {"gpu": None, "cpu": "any", "threads": 2}}


def test_estimate(tmp_path, capsys):
    import estimate

    path = tmp_path / "in" / "throughput.json"
    path.parent.mkdir()
    path.write_text(json.dumps(throughput_record()))
    estimate.main(["--smoke", "--output", str(tmp_path), str(path)])
    record = json.loads((tmp_path / "estimate.json").read_text(encoding="utf-8"))
    assert_positive(record["ratios"])
    table = {part["part"]: part for part in record["parts"]}
    assert table["Table 1, ten cells"]["runs"] == 10
    by_hand = 80 * (8077 + 1731 / 3) * 4 / 2 / 3600
    assert record["rows"][0]["0 % frozen"] == pytest.approx(by_hand)
    assert "| backbone |" in capsys.readouterr().out


def test_estimate_takes_measured_savings_where_there_are_any(tmp_path):
    import estimate

    path = tmp_path / "throughput.json"
    path.write_text(json.dumps(throughput_record()))
    assumed = estimate.read(path).hours("imagenet_vitb16", 1.0)
    rows = [{"way": "uncached", "frozen %": 100, "later of full": 0.5}]
    (tmp_path / "prefix.json").write_text(json.dumps({"rows": rows}))
    measured = estimate.read(path).hours("imagenet_vitb16", 1.0)
    assert measured > assumed
    path.write_text(json.dumps({**throughput_record(), "rows": []}))
    with pytest.raises(ValueError, match="no throughput of"):
        estimate.read(path)


def test_functions_are_timed_in_turns():
    import measure

    calls = []
    functions = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b") or 2.5}
    times = measure.interleaved(functions, repeats=3)
    assert calls == list("ab") * 4
    assert [len(times[name]) for name in "ab"] == [3, 3]
    timed_itself = measure.interleaved({"own": lambda: 2.5}, repeats=2)
    assert timed_itself == {"own": [2.5, 2.5]}


def test_exponents_are_those_planted():
    import measure

    sizes = [1000, 10_000, 100_000]
    assert measure.growth_exponent(sizes, [n**1.3 / 7 for n in sizes]) == pytest.approx(1.3)
    with_fixed_cost = [50_000 + n for n in sizes]
    assert measure.growth_exponent(sizes, with_fixed_cost) < 0.3
    assert measure.last_exponent(sizes, with_fixed_cost) == pytest.approx(0.3979, abs=1e-3)
    with pytest.raises(ValueError, match="two or more"):
        measure.growth_exponent([1], [1])


def test_memory_of_a_call_is_seen_although_it_is_given_back():
    import measure
    import numpy as np

    def come_and_go():
        for _ in range(3):
            total = np.ones(10_000_000).sum()
        return total

    found = measure.peak_memory(come_and_go)
    assert found.value == 10_000_000
    assert 60e6 < found.peak_bytes < 180e6


def test_clock_counts_whole_batches_only(monkeypatch):
    import measure

    moments = iter([0.0, 100.0, 102.0, 106.0, 130.0])
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(moments))
    clock = measure.Clock(SimpleNamespace(type="cpu"))
    for n in (8, 8, 16, 8, 2):
        clock.mark(n)
    assert clock.seconds_per_image(skip=1) == pytest.approx(30 / 32)
    clock.marks = clock.marks[:2]
    with pytest.raises(ValueError, match="2 batches began"):
        clock.seconds_per_image(skip=1)


def test_a_smoke_run_replaces_no_result(monkeypatch, tmp_path):
    import measure

    results, aside = tmp_path / "results", tmp_path / "aside"
    monkeypatch.setattr(measure, "RESULTS", results)
    monkeypatch.setattr(measure.tempfile, "mkdtemp", lambda **given: str(aside))
    given = measure.parser("").parse_args(["--smoke"])
    measure.publish("x", {"ratios": {}}, given)
    given.smoke, given.quick = False, True
    measure.publish("quick", {"ratios": {}}, given)
    assert not results.exists() and {p.stem for p in aside.iterdir()} == {"x", "quick"}
    given.quick = False
    measure.publish("x", {"ratios": {}}, given)
    assert [path.name for path in results.iterdir()] == ["x.json"]


def test_forward_operations_are_those_of_a_transformer():
    import estimate
    import throughput

    from rnfl.models.backbone import build
    from rnfl.models.regressor import RNFLRegressor

    model = RNFLRegressor(build("phantom_scratch", pretrained=False))
    counted = throughput.forward_flops(model, 112)
    assert counted == pytest.approx(estimate.operations(128, 6, 50), rel=0.15)


def test_mutations(tmp_path):
    record = smoke("mutations", tmp_path)
    assert_says_where_it_comes_from(record)
    assert record["total"]["inputs"] == 10 and record["faults"] == []  # 6 are made to harm


def test_mutations_committed_are_of_every_format_and_found_nothing():
    from mutated_files import FILES

    record, more = (
        json.loads((FOLDER / "results" / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("mutations", "mutations-more")
    )
    assert {row["format"] for row in record["rows"] + more["rows"]} == set(FILES)
    assert more["total"]["inputs"] >= 300 and more["faults"] == []
    assert record["total"]["inputs"] >= 2000 and record["faults"] == []
    assert record["single bits"]["flipped"] == 100 and record["single bits"]["believed"] == 0


def test_killed_commands(tmp_path):
    record = smoke("killed_commands", tmp_path, "--kills", "1")
    assert_says_where_it_comes_from(record)
    assert record["total"] == {"tried": 2, "without a trace": 2}


def test_kills(tmp_path):
    record = smoke("kills", tmp_path)
    assert_says_where_it_comes_from(record)
    assert record["total"]["bit-identical"] == record["total"]["killed"] == 1
    assert record["total"]["broken files"] == 0
