"""The doors, on a real small corpus: train, stop, go on, score, sample, convert."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from corpus.snapshots.retirement import retire
from corpus.snapshots.snapshot import read_head, write_snapshot
from corpus.storage.store import open_store
from shards.tokenizer.encode import load_tokenizer
from tests.train.doors import arguments, last_json, weights
from train import evaluate, export, generate, run
from train.checkpoints.checkpoint import Checkpoints
from train.checkpoints.load import load_model
from train.config import RuntimeConfig
from train.machine.distributed import join_world


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus with the finished run `r`; do not write to it."""
    root = tmp_path_factory.mktemp("trained") / "c"
    shutil.copytree(corpus, root)
    assert run.main(arguments(root)) == 0
    return root


def test_a_run_leaves_all_it_should(trained: Path) -> None:
    folder = trained / "runs/r"
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "metrics.jsonl", "page.html", "samples", "checkpoints", "summary.json", "tensorboard",
    }  # fmt: skip
    assert sorted(path.name for path in (folder / "samples").iterdir()) == [
        "step-00000004.txt", "step-00000008.txt",
    ]  # fmt: skip
    identity = json.loads((folder / "config.json").read_text())["identity"]
    snapshot = json.loads((trained / "snapshots/b.json").read_text())
    assert identity["snapshot_digest"] == snapshot["digest"]
    assert identity["shape"] == {
        "n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16, "vocab_size": snapshot["vocab_size"],
    }  # fmt: skip
    record = Checkpoints(open_store(str(trained)), "r").find("last").record
    assert record["identity"] == identity
    assert record["stream"]["snapshot"] == snapshot["digest"]


def test_done_is_up_to_date(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (trained / "runs/r/checkpoints").rglob("*")}
    assert run.main(arguments(trained, "--json")) == 0
    printed = capsys.readouterr().out
    assert "r up to date" in printed
    assert last_json(printed)["up_to_date"] is True
    assert last_json(printed)["counts"]["steps"] == 8
    assert before == {
        path: path.stat().st_mtime_ns for path in (trained / "runs/r/checkpoints").rglob("*")
    }


def test_another_config_is_refused_until_rebuilt(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "c"
    shutil.copytree(trained, root)
    assert run.main(arguments(root, max_steps=4, seed=7)) == 2
    error = capsys.readouterr().err
    assert "settings.max_steps: 8 there, 4 now" in error
    assert "settings.seed: 1337 there, 7 now" in error
    assert "--rebuild" in error
    (root / "runs/r/scores").mkdir()
    (root / "runs/r/scores.md").touch()
    assert run.main(arguments(root, "--rebuild", max_steps=4, seed=7)) == 0
    assert not {"scores", "scores.md"} & {path.name for path in (root / "runs/r").iterdir()}
    assert [found.step for found in Checkpoints(open_store(str(root)), "r").all()] == [4]


def test_a_finished_run_takes_more_steps_when_told(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under a schedule that does not know the end, the weights are those of one long run."""
    root = tmp_path / "c"
    shutil.copytree(corpus, root)
    level = {"optimizer__schedule": "wsd", "optimizer__decay_frac": 0, "optimizer__warmup_frac": 0}
    assert run.main(arguments(root, "--extend", max_steps=4, **level)) == 2
    assert "no run to extend" in capsys.readouterr().err
    assert run.main(arguments(root, max_steps=4, **level)) == 0

    assert run.main(arguments(root, max_steps=7, **level)) == 2
    assert "to take more steps add --extend" in capsys.readouterr().err
    assert run.main(arguments(root, "--extend", max_steps=4, **level)) == 2
    assert "name more with --set train.max_steps=8" in capsys.readouterr().err
    assert run.main(arguments(root, "--extend", max_steps=7, seed=7, **level)) == 2
    assert "settings.seed: 1337 there, 7 now" in capsys.readouterr().err

    assert run.main(arguments(root, "--extend", "--json", max_steps=7, **level)) == 0
    assert last_json(capsys.readouterr().out)["counts"]["steps"] == 7
    assert run.main(arguments(root, max_steps=7, **level)) == 0, "up to date without --extend"

    shutil.copytree(corpus, root.with_name("long"))
    assert run.main(arguments(root.with_name("long"), max_steps=7, **level)) == 0
    assert weights(root) == weights(root.with_name("long"))


def test_another_snapshot_or_tokenizer_is_refused_with_both(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "c"
    shutil.copytree(trained, root)
    path = root / "runs/r/config.json"
    config = json.loads(path.read_text())
    digest = config["identity"]["snapshot_digest"]
    config["identity"] |= {"snapshot_digest": "0" * 32, "tokenizer_fingerprint": "f" * 32}
    path.write_text(json.dumps(config))
    assert run.main(arguments(root)) == 2
    error = capsys.readouterr().err
    assert f"snapshot_digest: '{'0' * 32}' there, '{digest}' now" in error
    assert "tokenizer_fingerprint: 'ffff" in error


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__block_size": 100_000}, "block_size 100000: the train split holds"),
        ({"runtime__device": "cuda:99"}, "train.runtime.device = 'cuda:99'"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    corpus_copy: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    assert run.main(arguments(corpus_copy, **changes)) == 2
    error = capsys.readouterr().err.strip()
    assert message in error.splitlines()[-1]


def test_an_absent_snapshot_names_those_present(
    corpus_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main([*arguments(corpus_copy), "--snapshot", "x"]) == 2
    assert "no snapshot 'x'; present: b" in capsys.readouterr().err


def test_a_sweep_names_the_best_rate(corpus_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["--sweep", "1e-6,1e-2", "--json"]
    assert run.main(arguments(corpus_copy, *sweep, max_steps=4, num_samples=0)) == 0
    printed = capsys.readouterr().out
    assert "learning rate 0.01: perplexity" in printed
    assert last_json(printed)["best"] == 0.01
    assert {path.name for path in (corpus_copy / "runs").iterdir()} == {
        "r",
        "r-lr-0.01",
        "r-lr-1e-06",
    }
    before = (corpus_copy / "runs/r/sweep.json").read_text()
    assert (
        run.main(arguments(corpus_copy, *sweep, max_steps=4, num_samples=0)) == 0
    )  # each rate is up to date
    assert (corpus_copy / "runs/r/sweep.json").read_text() == before


def test_scores_name_what_they_count(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passages = tmp_path / "lambada.jsonl"
    passages.write_text('{"text": "a web page of the corpus"}\n{"text": "the link model"}\n')
    schemas = tmp_path / "wsc.jsonl"
    options = ["the page the link because the page", "the page the link because the link"]
    schemas.write_text(
        json.dumps({"context_options": options, "continuation": "train .", "gold": 1}) + "\n"
    )
    command = ["--corpus", str(trained), "--name", "r", "--device", "cpu"]
    files = ["--task", f"lambada={passages}", "--task", f"wsc273={schemas}"]
    assert evaluate.main([*command, *files, "--limit", "-1"]) == 2
    assert "--limit -1 is out of range: expected 0 or more" in capsys.readouterr().err
    assert evaluate.main([*command, *files]) == 2
    error = capsys.readouterr().err
    assert "test set lambada" in error
    assert "expected 4aa8d02cd17c719165fc8a7887fddd641f43fcafa4b1c806ca8abc31fabdb226" in error
    assert evaluate.main([*command, *files, "--allow-altered", "--json"]) == 0
    out = capsys.readouterr().out
    scores = last_json(out)
    assert out.startswith((trained / "runs/r/scores.md").read_text())
    assert (
        "| lambada (not the official file) | last token accuracy | 59.23 | 45.99 | 55.48 | 60.12 | 63.24 |"
        in out
    )
    assert scores["about"]["lambada"]["official"] is False
    assert scores == json.loads((trained / "runs/r/scores.json").read_text())
    (trained / "runs/r/scores.json").unlink()
    summary = json.loads((trained / "runs/r/summary.json").read_text())
    assert scores["sets"]["validation"]["nats_per_token"] == pytest.approx(
        summary["val_loss"], rel=1e-6
    )
    assert scores["sets"]["validation"]["bits_per_byte"] == pytest.approx(
        summary["val_bits_per_byte"], rel=1e-6
    )
    assert set(scores["sets"]["lambada"]) == {
        "entries", "word_greedy_accuracy", "word_stopword_accuracy", "last_token_accuracy", "word_perplexity",
    }  # fmt: skip
    assert scores["sets"]["wsc273"]["entries"] == 1


def test_scores_of_one_checkpoint_add_up(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A set today and another tomorrow are two rows; no table has rows of two checkpoints."""
    root, passages, schemas = tmp_path / "c", tmp_path / "lambada.jsonl", tmp_path / "wsc.jsonl"
    shutil.copytree(trained, root, ignore=shutil.ignore_patterns("scores*"))
    passages.write_text('{"text": "a web page of the corpus"}\n{"text": "the link model"}\n')
    schemas.write_text(
        json.dumps(
            {"context_options": ["the page", "the link"], "continuation": "train .", "gold": 1}
        )
    )
    lambada, wsc = f"lambada={passages}", f"wsc273={schemas}"

    def scored(*words: str, said: str = "") -> Any:
        asked = [
            "--corpus",
            str(root),
            "--run",
            "r",
            "--device",
            "cpu",
            "--allow-altered",
            "--json",
            *words,
        ]
        assert evaluate.main(asked) == 0
        out, err = capsys.readouterr()
        assert said in err
        shown = last_json(out)
        assert shown == json.loads((root / "runs/r/scores.json").read_text())
        rows = (root / "runs/r/scores.md").read_text().splitlines()[2:]
        assert {row.split()[1] for row in rows} == set(shown["sets"])
        return shown

    first = scored("--task", lambada)
    assert set(first["sets"]) == {"validation", "lambada"}
    both = scored("--task", wsc)
    assert set(both["sets"]) == {"validation", "lambada", "wsc273"}
    assert both["sets"]["lambada"] == first["sets"]["lambada"]
    assert both["about"]["lambada"] == first["about"]["lambada"]
    changed = scored("--task", lambada, "--limit", "1", "--no-begin")
    assert changed["sets"]["lambada"]["entries"] == 1
    assert (changed["about"]["lambada"]["begin"], changed["about"]["wsc273"]["begin"]) == (
        False,
        True,
    )
    assert changed["sets"]["wsc273"] == both["sets"]["wsc273"]
    assert (
        "| lambada (not the official file) (first 1) |" in (root / "runs/r/scores.md").read_text()
    )

    store = open_store(str(root))
    at_8 = load_model(store, "r", "8", join_world(RuntimeConfig(device="cpu", num_threads=1), {}))
    assert changed["weights"] == at_8.weights
    older = scored("--task", wsc, "--checkpoint", "4")
    assert set(older["sets"]) == {"validation", "wsc273"}
    assert older["step"] == 4
    assert older["weights"] != at_8.weights
    assert set(scored()["sets"]) == {"validation", "lambada", "wsc273"}, (
        "the checkpoint's own are still there"
    )

    write_snapshot(store, "b2", ["b"])
    said = "lambada, validation, wsc273 made of other snapshot, and not in the table"
    assert set(scored("--snapshot", "b2", said=said)["sets"]) == {"validation"}


def test_text_from_prompt_file_and_stdin_is_the_same(
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ["--corpus", str(trained), "--run", "r", "--device", "cpu", "--num-tokens", "5"]
    (tmp_path / "prompt").write_text("the corpus")
    printed = []
    for source in (
        ["--prompt", "the corpus"],
        ["--prompt-file", str(tmp_path / "prompt")],
        ["--prompt-file", "-"],
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the corpus")))
        assert generate.main([*command, *source]) == 0
        printed.append(capsys.readouterr().out)
    assert len(set(printed)) == 1
    assert printed[0].startswith("the corpus")
    assert generate.main([*command, "--num-samples", "3", "--json"]) == 0
    assert len(last_json(capsys.readouterr().out)["texts"]) == 3
    for option, value in (
        ("--top-p", "0"),
        ("--temperature", "nan"),
        ("--temperature", "1e-40"),
        ("--seed", "-1"),
    ):
        assert generate.main([*command, option, value]) == 2
        assert (
            f"{option} {float(value) if option != '--seed' else value} is out of range"
            in capsys.readouterr().err
        )
    for option in ("--prompt", "--stop"):
        assert generate.main([*command, option, "caf\udce9"]) == 2  # as of a byte that is not UTF-8
        assert f"{option} caf\\udce9: expected UTF-8 text" in capsys.readouterr().err
    (tmp_path / "prompt").write_bytes(b"caf\xe9")
    assert generate.main([*command, "--prompt-file", str(tmp_path / "prompt")]) == 2
    assert "can't decode byte 0xe9" in capsys.readouterr().err


def test_prompts_of_a_file_and_stop_texts(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--corpus", str(trained), "--run", "r", "--device", "cpu", "--num-tokens", "12"]
    assert generate.main([*command, "--prompt", "the", "--json"]) == 0
    printed = capsys.readouterr().out
    (text,) = last_json(printed)["texts"]
    assert printed.startswith(f"the{text}\n")
    stop = text[4:7]
    for options in (["--stop", stop], ["--stop", "never", "--stop", stop]):
        assert generate.main([*command, "--prompt", "the", "--json", *options]) == 0
        printed = capsys.readouterr().out
        assert last_json(printed)["texts"] == [text[: text.find(stop)]]
        assert printed.startswith(f"the{text[: text.find(stop)]}\n")

    (tmp_path / "prompts").write_text("the\na corpus\n")
    assert generate.main([*command, "--prompts", str(tmp_path / "prompts"), "--json"]) == 0
    found = last_json(capsys.readouterr().out)["continuations"]
    assert [each["prompt"] for each in found] == ["the", "a corpus"]
    assert found[0]["text"] == text
    assert generate.main([*command, "--min-p", "2"]) == 2
    assert "--min-p 2.0 is out of range: expected 0 to 1" in capsys.readouterr().err


@given(
    st.lists(st.binary(min_size=1, max_size=3), max_size=8),
    st.lists(st.sampled_from(["b", "ab", "bb", "é"]), max_size=2),
)
def test_a_streamed_text_is_the_whole_text_up_to_its_stop(
    pieces: list[bytes], stops: list[str]
) -> None:
    """Whatever is printed early stays right: characters come in parts, and so do stop texts."""
    tokens = [*range(len(pieces))]
    printer = generate.Printer(
        stops, lambda ids: b"".join(pieces[place] for place in ids).decode("utf-8", "replace")
    )
    printer.is_shown = True
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        for end in range(1, len(tokens) + 1):
            if printer.take(tokens[:end]):
                break
        out.write(printer.finish())
    whole = b"".join(pieces).decode("utf-8", "replace")
    ends = [whole.find(stop) for stop in stops if stop in whole]
    if ends:
        assert printer.text == out.getvalue()
        assert not any(stop in printer.text for stop in stops)
    else:
        assert out.getvalue() == whole


def test_the_page_of_a_run_needs_no_server(trained: Path) -> None:
    text = (trained / "runs/r/page.html").read_text()
    lines = (trained / "runs/r/metrics.jsonl").read_text().splitlines()
    num_points = {
        name: sum(name in json.loads(line) for line in lines) for name in ("loss", "val_loss")
    }
    drawn = re.findall(r"<polyline points='([^']*)'", text)
    assert [len(points.split()) for points in drawn] == [num_points["loss"], num_points["val_loss"]]
    assert "Samples after step 8" in text
    assert "<script" not in text
    assert "http" not in text


def test_the_card_follows_the_records(trained: Path, tmp_path: Path) -> None:
    root, folder = tmp_path / "c", tmp_path / "hf"
    shutil.copytree(trained, root)
    weights = load_model(
        open_store(str(root)), "r", "last", join_world(RuntimeConfig(device="cpu"), {})
    ).weights
    scores = {
        "weights": weights,
        "step": 8,
        "dtype": "float32",
        "sets": {"wsc": {"accuracy": 0.625}},
    }
    (root / "runs/r/scores.json").write_text(json.dumps(scores))
    command = ["--corpus", str(root), "--run", "r", "--to", "hf", "--folder", str(folder)]
    (root / "reports").mkdir(exist_ok=True)
    row = {"testset": "lambada", "n": 8, "share_so_far": 0.5, "share_left_so_far": 0.0125}
    row |= {"ngrams": 5, "share": 0.5, "share_of_own_train": None, "gpt2": None}
    report = {"table": [row], "worst_entries": [], "worst_pages": []}
    batch = read_head(open_store(str(root)), "b").batches[0].batch
    (root / f"reports/overlap-{batch}.json").write_text(json.dumps(report))

    assert export.main([*command, "--license", "mit"]) == 0
    card = (folder / "README.md").read_text()
    assert 'license: "mit"' in card
    assert "| wsc | accuracy | 0.625 |" in card
    assert "| lambada | 1.25% |" in card

    (root / "runs/r/scores.json").write_text(json.dumps({**scores, "weights": "others", "step": 4}))
    (root / "runs/r/metrics.jsonl").unlink()
    assert export.main(command) == 0
    card = (folder / "README.md").read_text()
    assert "Not scored at this step; step 4 was." in card
    assert "Not recorded." in card


def test_a_stop_while_exporting_never_leaves_new_settings_beside_old_weights(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["--corpus", str(trained), "--run", "r", "--to", "hf", "--folder", str(tmp_path)]
    assert export.main(command) == 0
    whole = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("train.gpt2.huggingface.save_file", stop)
        assert export.main(command) == 130
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == whole

    moved: list[str] = []

    def stop_late(source: Path, target: Path) -> None:
        moved.append(target.name)
        if len(moved) == 3:
            raise KeyboardInterrupt
        source.rename(target)

    with monkeypatch.context() as patch:
        patch.setattr("train.gpt2.exported_folder.os.replace", stop_late)
        assert export.main(command) == 130
    assert not (tmp_path / "config.json").exists()
    assert export.main(command) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == whole


def test_exported_opens_elsewhere_and_comes_back(
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "hf"
    assert (
        export.main(["--corpus", str(trained), "--run", "r", "--to", "hf", "--folder", str(folder)])
        == 0
    )
    theirs = transformers.GPT2LMHeadModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = "the corpus of naïve 東京 🙂 pages, don't"
    assert tokenizer(text)["input_ids"] == load_tokenizer(open_store(str(trained))).encode(text)
    world = join_world(RuntimeConfig(device="cpu", num_threads=1), {})
    ours = load_model(open_store(str(trained)), "r", "last", world)
    assert tokenizer.eos_token_id == ours.end_of_text
    tokens = torch.tensor([ours.tokenizer.encode(text)[:16]])
    torch.testing.assert_close(
        theirs(tokens).logits, ours.model.logits(tokens), rtol=1e-4, atol=1e-4
    )

    card = (folder / "README.md").read_text()
    head = read_head(open_store(str(trained)), "b")
    last = json.loads((trained / "runs/r/metrics.jsonl").read_text().splitlines()[-1])
    assert f"digest `{head.digest}`" in card
    assert f"{sum(each.num_tokens for each in head.splits.values()):,} tokens" in card
    assert f"| {last['step']} | {last['val_loss']:.4f} |" in card
    assert f"Fingerprint of its weights: `{ours.weights}`" in card

    root = tmp_path / "c"
    shutil.copytree(trained, root)
    back = ["--corpus", str(root), "--run", "back", "--from", "hf", "--folder", str(folder)]
    with monkeypatch.context() as patch:
        patch.setattr(
            Checkpoints, "_commit", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        assert export.main(back) == 130  # between config.json and the checkpoint
    assert export.main(back) == 0
    assert export.main(back) == 2
    assert "runs/back: exists" in capsys.readouterr().err
    imported = load_model(open_store(str(root)), "back", "last", world)
    assert torch.equal(imported.model.logits(tokens), ours.model.logits(tokens))
    assert (
        evaluate.main(
            ["--corpus", str(root), "--run", "back", "--snapshot", "b", "--device", "cpu"]
        )
        == 0
    )

    capsys.readouterr()
    passages = tmp_path / "lambada.jsonl"
    passages.write_text('{"text": "a web page of the corpus"}\n{"text": "the link model"}\n')
    asked = ["--task", f"lambada={passages}", "--allow-altered", "--device", "cpu", "--json"]
    assert evaluate.main(["--model", str(folder), "--out", str(tmp_path / "out"), *asked]) == 0
    theirs_scores = last_json(capsys.readouterr().out)
    assert evaluate.main(["--corpus", str(trained), "--run", "r", *asked]) == 0
    (trained / "runs/r/scores.json").unlink()
    ours_scores = last_json(capsys.readouterr().out)
    assert theirs_scores["sets"]["lambada"] == pytest.approx(
        ours_scores["sets"]["lambada"], rel=1e-4
    )
    assert evaluate.main(["--model", str(tmp_path), "--out", str(tmp_path / "out"), *asked]) == 2
    assert "no config.json" in capsys.readouterr().err
    corrected = {"n_head": 1}
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | corrected))
    capsys.readouterr()
    assert evaluate.main(["--model", str(folder), "--out", str(tmp_path / "out"), *asked]) == 0
    assert last_json(capsys.readouterr().out)["sets"]["lambada"] != theirs_scores["sets"]["lambada"]
    words = Tokenizer.from_file(str(folder / "tokenizer.json"))
    words.add_tokens(["<more>"])
    words.save(str(folder / "tokenizer.json"))
    assert evaluate.main(["--model", str(folder), "--out", str(tmp_path / "out"), *asked]) == 2
    assert "tokenizer.json has 301 tokens, the model 300" in capsys.readouterr().err


def test_a_model_of_the_hub_becomes_a_run(
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import huggingface_hub

    root, folder = tmp_path / "c", tmp_path / "hf"
    shutil.copytree(trained, root)
    corpus = ["--corpus", str(root)]
    assert export.main([*corpus, "--run", "r", "--to", "hf", "--folder", str(folder)]) == 0
    asked = []

    def download(name: str, **options: Any) -> str:
        asked.append(name)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    named = [*corpus, "--from", "hf", "--model", "us/tiny"]
    assert export.main([*named, "--run", "back"]) == 0
    assert asked == ["us/tiny"]
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocab = tokenizer["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert export.main([*named, "--run", "other"]) == 2
    assert (
        f"token 'a' has id {vocab['a']} there, {vocab['b']} in the corpus's"
        in capsys.readouterr().err
    )
    (folder / "tokenizer.json").write_text("[]")
    assert export.main([*named, "--run", "other"]) == 2
    assert "expected the tokenizer of a GPT-2" in capsys.readouterr().err
    assert export.main([*corpus, "--run", "x", "--to", "hf", "--model", "us/tiny"]) == 2
    assert "expected --folder DIR" in capsys.readouterr().err


def test_a_name_that_is_no_model_is_one_line(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        export.main(["--corpus", str(trained), "--run", "x", "--from", "hf", "--model", "no model"])
        == 2
    )
    assert "--model no model: " in capsys.readouterr().err


def test_outcomes_are_kept_by_the_weights_themselves(trained: Path, tmp_path: Path) -> None:
    world = join_world(RuntimeConfig(device="cpu", num_threads=1), {})
    again = tmp_path / "c"
    shutil.copytree(trained, again)
    assert run.main(arguments(again, "--rebuild")) == 0
    found = [
        load_model(open_store(str(root)), "r", step, world).weights
        for root in (trained, again)
        for step in "48"
    ]
    assert found[:2] == found[2:]
    assert found[0] != found[1]


def test_a_run_that_is_not_there_names_those_that_are(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate.main(["--corpus", str(trained), "--run", "x"]) == 2
    assert "no run 'x'; there: r" in capsys.readouterr().err


def test_a_withdrawn_snapshot_is_refused_unless_told_otherwise(
    corpus_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    retire(open_store(str(corpus_copy)), "b", "withdrawn", "take-down x", "b.2")
    assert run.main(arguments(corpus_copy)) == 2
    message = capsys.readouterr().err
    assert "snapshot 'b' was withdrawn on" in message
    assert "use --snapshot b.2, or --allow-withdrawn" in message
    assert not (corpus_copy / "runs" / "r" / "summary.json").exists()
    assert run.main(arguments(corpus_copy, "--allow-withdrawn", max_steps=2, eval_interval=2)) == 0


def test_whole_documents_passes_and_their_limit(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "c"
    shutil.copytree(corpus, root)
    packed = ("--set", "train.data.packing=documents", "--set", "train.data.sample_by=score")
    assert run.main(arguments(root, *packed)) == 0
    printed = capsys.readouterr().err
    assert "whole documents in" in printed
    assert "passes over the train split" in printed
    record = Checkpoints(open_store(str(root)), "r").find("last").record
    assert record["stream"]["packing"] == "documents"
    assert 0 < record["passes"]["the train split"] < 10
    assert "documents weighed by score: an epoch has" in printed
    assert record["sample_by"]["column"] == "score"
    assert all(record["sample_by"]["tokens_by_copy"])
    # Scored as it was trained: documents apart, each from the first position on.
    capsys.readouterr()
    scoring = ["--corpus", str(root), "--run", "r", "--device", "cpu", "--json"]
    assert evaluate.main(scoring) == 0
    scores = last_json(capsys.readouterr().out)
    summary = json.loads((root / "runs/r/summary.json").read_text())
    assert scores["sets"]["validation"]["nats_per_token"] == pytest.approx(
        summary["val_loss"], rel=1e-6
    )
    limit = ("--set", "train.data.max_passes=0.001", "--run", "other")
    assert run.main([*arguments(root, *packed), *limit]) == 2
    assert "train.data.max_passes = 0.001: this run makes" in capsys.readouterr().err
    # It has begun nothing, so the corrected command needs no --rebuild.
    assert run.main([*arguments(root, max_steps=1, eval_interval=1), "--run", "other"]) == 0
