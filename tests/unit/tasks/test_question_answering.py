from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from transformers import AutoTokenizer

from sweeper.checks import ConfigError
from sweeper.config import DataConfig, PromptConfig, PromptStyle, TaskConfig, run_config
from sweeper.metrics import TASK_METRICS
from tasks import sources
from tasks.encoded import Encoded, Limits
from tasks.question_answering import QuestionAnsweringTask
from tasks.task import Prediction, Prompt, load_task

CONTEXT = "Normandy is a region in France"


def config(*, no_answer: str | None = "unanswerable", answer: str = " {answer}", **values: Any) -> TaskConfig:
    user = values.pop("user", "{context}\nQuestion: {question}\nAnswer:")
    prompt = PromptConfig(system="Be brief.", user=user, answer=answer, no_answer=no_answer)
    return TaskConfig(
        type="question_answering", data=DataConfig(text="context", label="answers"), prompt=prompt, **values
    )


def rows(*answers: list[str], context: str = CONTEXT) -> pd.DataFrame:
    kept = [json.dumps([{"text": text, "start": None} for text in own]) for own in answers]
    frame = pd.DataFrame({"id": [f"q{number}" for number in range(len(answers))], "answers": kept})
    return frame.assign(context=context, question="Where is it?")


@pytest.fixture(scope="module")
def tokenizer(repository: Path) -> Any:
    return AutoTokenizer.from_pretrained(repository / "sweeper" / "mini")


def encoded(task: TaskConfig, frame: pd.DataFrame, tokenizer: Any, **limits: Any) -> Encoded:
    limits = {"max_length": 128, "style": PromptStyle.PLAIN} | limits
    return QuestionAnsweringTask(task).encode(frame, tokenizer, Limits(**limits))


def prediction(
    text: str | None, *references: str, scores: tuple[float, ...] = (-1.0, -2.0), name: str = "q"
) -> Prediction:
    return Prediction(name, text, scores, references=references, question="Where?")


def test_the_prompt_is_filled_with_context_and_question() -> None:
    task = QuestionAnsweringTask(config())
    expected = Prompt("Be brief.", f"{CONTEXT}\nQuestion: Where is it?\nAnswer:")
    assert task.prompts(rows(["France"])) == [expected]
    assert QuestionAnsweringTask(config(user="{text}\nQuestion: {question}\nAnswer:")).prompts(rows([])) == [expected]


def test_question_stands_for_its_column_whatever_it_is_called() -> None:
    task = config(user="{question} {title}")
    task.data.question = "query"
    made = QuestionAnsweringTask(task)
    assert made.columns == ["context", "query", "title"]
    frame = pd.DataFrame({"id": ["1"], "context": ["c"], "query": ["why?"], "title": ["t"]})
    assert made.prompts(frame) == [Prompt("Be brief.", "why? t")]


def test_an_example_learns_the_first_accepted_answer_or_the_no_answer_form(tokenizer: Any) -> None:
    found = encoded(config(), rows(["France", "in France"], []), tokenizer)
    known, unknown = found.examples
    decode = tokenizer.decode
    assert decode(known.prompt, skip_special_tokens=True).endswith("where is it?\nanswer:")  # it knows no capitals
    assert [decode(tokens) for tokens in known.candidates] == [" france", " unanswerable"]
    assert [decode(tokens) for tokens in unknown.candidates] == [" unanswerable"] * 2
    assert known.answer == [*known.candidates[0], tokenizer.eos_token_id]
    assert unknown.answer == [*unknown.candidates[1], tokenizer.eos_token_id]
    assert (known.references, unknown.references) == (("France", "in France"), ())
    assert known.question == "Where is it?"
    assert found.eos == tokenizer.eos_token_id
    assert found.writes


def test_prompt_and_answer_are_the_tokens_of_the_whole_text(tokenizer: Any) -> None:
    (example,) = encoded(config(), rows(["a region in France"]), tokenizer).examples
    text = f"Be brief.\n{CONTEXT}\nQuestion: Where is it?\nAnswer: a region in France"
    whole = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert [*example.prompt, *example.candidates[0]][-len(whole) :] == whole


def test_where_every_question_has_an_answer_it_is_the_only_candidate(tokenizer: Any) -> None:
    (example,) = encoded(config(no_answer=None), rows(["France"]), tokenizer).examples
    assert len(example.candidates) == 1


@pytest.mark.parametrize(("no_answer", "candidates"), [("none", 1), (None, 0)])
def test_new_questions_need_no_answers(tokenizer: Any, no_answer: str | None, candidates: int) -> None:
    frame = rows(["France"]).drop(columns="answers")
    (example,) = encoded(config(no_answer=no_answer), frame, tokenizer).examples
    assert (example.answer, example.references, len(example.candidates)) == ([], (), candidates)
    assert example.prompt == encoded(config(), rows([]), tokenizer).examples[0].prompt
    assert encoded(config(), frame.iloc[:0], tokenizer).examples == []


def test_a_prompt_that_melts_into_its_answer_is_named(tokenizer: Any) -> None:
    task = config(user="{context} {question} ", answer="{answer}")
    with pytest.raises(ConfigError, match=r"task\.prompt\.answer=.*: the last tokens of the prompt of q0 melt"):
        encoded(task, rows(["France"]), tokenizer)


def test_a_no_answer_form_that_the_model_cannot_write_is_an_error(tokenizer: Any) -> None:
    """It would never be recognised."""
    with pytest.raises(ConfigError, match=r"task\.prompt\.no_answer=</s>: this model's tokenizer writes it as ' '"):
        encoded(config(no_answer="</s>"), rows([]), tokenizer)
    assert encoded(config(no_answer="None"), rows([]), tokenizer).examples  # it writes "none", which is as good


def test_an_accepted_answer_that_reads_as_the_no_answer_form_is_an_error(tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match=r"task\.prompt\.no_answer=france: .* as an accepted answer \('France'\)"):
        encoded(config(no_answer="france"), rows(["France"]), tokenizer)


def test_a_no_answer_form_that_is_longer_than_what_is_written_is_an_error(tokenizer: Any) -> None:
    form = " ".join(["region"] * 11)
    with pytest.raises(ConfigError, match=r"task\.max_new_tokens=10: the no-answer form 'region .*' has 11 tokens"):
        encoded(config(no_answer=form), rows([]), tokenizer)
    assert encoded(config(no_answer=form), rows([]), tokenizer, max_new_tokens=11).examples


def test_a_context_that_is_too_long_loses_its_end_and_nothing_else_does(tokenizer: Any) -> None:
    frame = rows(["France"], context=" ".join([CONTEXT] * 20))
    with pytest.raises(ConfigError, match=r"task\.max_length=128: example q0 has \d+ tokens, answer included"):
        encoded(config(), frame, tokenizer)
    found = encoded(config(), frame, tokenizer, too_long="truncate", max_new_tokens=20)
    (example,) = found.examples
    assert found.truncated == 1
    assert len(example.prompt) <= 128 - 20 - 1
    text = tokenizer.decode(example.prompt, skip_special_tokens=True)
    assert text.startswith(f"be brief.\n{CONTEXT.lower()} {CONTEXT.lower()}")
    assert text.endswith("\nquestion: where is it?\nanswer:")


LONG = " ".join([CONTEXT] * 20)
LONG_ANSWER = " ".join(["region"] * 30)


def test_a_prompt_is_the_same_whatever_the_gold_answers_are(tokenizer: Any) -> None:
    """Its own and those of its neighbours."""
    asked = [rows(["France"], own, context=LONG) for own in (["France"], [LONG_ANSWER], [])]
    asked.append(asked[0].drop(columns="answers"))
    found = [encoded(config(), frame, tokenizer, too_long="truncate").examples for frame in asked]
    first, second = found[0]
    assert len(first.prompt) <= 128 - 10 - 1
    for examples in found[1:]:
        assert [example.prompt for example in examples] == [first.prompt, second.prompt]


def test_an_answer_that_does_not_fit_loses_what_could_never_be_written(tokenizer: Any) -> None:
    (whole,) = encoded(config(), rows([LONG_ANSWER]), tokenizer).examples
    assert whole.answer == [*whole.candidates[0], tokenizer.eos_token_id]
    assert len(whole.candidates[0]) == 30
    found = encoded(config(), rows([LONG_ANSWER], ["France"], context=LONG), tokenizer, too_long="truncate")
    example, other = found.examples
    assert found.truncated == 2
    room = 128 - len(example.prompt)
    assert 11 <= room < 30
    assert example.answer == example.candidates[0] == whole.candidates[0][:room]
    assert other.answer == [*other.candidates[0], tokenizer.eos_token_id]


def test_an_answer_that_does_not_fit_is_an_error_that_names_its_row(tokenizer: Any) -> None:
    frame = rows(["France"], [LONG_ANSWER], context=" ".join([CONTEXT] * 13))
    longest = max(len(example.prompt) for example in encoded(config(), frame, tokenizer, max_length=256).examples)
    limit = longest + 11  # room for what is written, so not for 31 tokens
    with pytest.raises(ConfigError, match=rf"task\.max_length={limit}: example q1 has {longest + 31} tokens, answer"):
        encoded(config(), frame, tokenizer, max_length=limit)
    found = encoded(config(), frame, tokenizer, max_length=limit, too_long="truncate")
    assert found.truncated == 1
    assert len(found.examples[0].prompt) == longest  # no prompt lost anything


def test_many_rows_are_encoded_as_each_of_them_alone(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.concat([rows(["France"], []), rows(["a region"], [LONG_ANSWER], ["in"], context=LONG)])
    frame["id"] = [f"q{number}" for number in range(5)]
    frame = frame.reset_index(drop=True)
    whole = encoded(config(), frame, tokenizer, too_long="truncate")
    for module in ("question_answering", "prompting"):
        monkeypatch.setattr(f"tasks.{module}.BATCH", 2)
    assert encoded(config(), frame, tokenizer, too_long="truncate") == whole
    alone = [encoded(config(), frame.iloc[[number]], tokenizer, too_long="truncate") for number in range(5)]
    assert [example for own in alone for example in own.examples] == whole.examples
    assert sum(own.truncated for own in alone) == whole.truncated == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"answer": " {label}"}, r"task\.prompt\.answer= \{label\}: a question's answer holds \{answer\} once"),
        ({"answer": "{answer}{answer}"}, r"holds \{answer\} once"),
        ({"no_answer": " "}, r"task\.prompt\.no_answer=' ': must not be empty"),
    ],
)
def test_a_template_that_does_not_fit_is_an_error(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_task(config(**values))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (" France", "France"),
        (" unanswerable, I fear", "unanswerable, I fear"),
        (" unanswerable\n", ""),
        (" Unanswerable.", ""),
        ("The unanswerable", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_only_the_no_answer_form_is_no_answer(text: str | None, answer: str) -> None:
    """Whatever its case, punctuation and articles."""
    assert QuestionAnsweringTask(config()).answer(prediction(text)) == answer


def test_the_template_around_an_answer_is_no_part_of_it() -> None:
    task = QuestionAnsweringTask(config(answer=" <{answer}>."))
    assert task.answer(prediction(" <France>.")) == "France"
    assert task.answer(prediction(" <unanswerable>.")) == ""


PREDICTIONS = [
    prediction(" the France", "France", scores=(-1.0, -5.0), name="a"),
    prediction(" in Paris", "Paris", "in the Paris", scores=(-3.0, -4.0), name="b"),
    prediction(" unanswerable", scores=(-0.5, -0.5), name="c"),
    prediction(" Rome", scores=(-1.5, -1.5), name="d"),
]


def test_scores_are_squads_and_the_loss() -> None:
    found = QuestionAnsweringTask(config()).score(PREDICTIONS)
    assert found["exact_match"] == 0.75
    assert found["no_answer_exact_match"] == 0.5
    assert found["no_answer_share"] == 0.25
    assert found["best_exact_match"] == 1
    assert found["best_exact_match_threshold"] == -4.0  # Rome is taken back, of which the model is less sure
    assert found["loss"] == pytest.approx((1 + 3 + 0.5 + 1.5) / 4)
    written = {"bleu", "meteor", "rouge1", "rouge2", "rougeL"}
    assert set(found) | written == {metric.name for metric in TASK_METRICS["question_answering"]}


def test_without_a_no_answer_form_there_is_no_threshold() -> None:
    found = QuestionAnsweringTask(config(no_answer=None)).score([prediction(" France", "France", scores=(-1.0,))])
    assert set(found) == {"exact_match", "f1", "has_answer_exact_match", "has_answer_f1", "loss"}


def test_scores_of_written_text_hold_no_answer_to_the_form_of_it() -> None:
    task = QuestionAnsweringTask(config(metrics=["rouge", "bleu"]))
    right = task.score([PREDICTIONS[2]])
    wrong = task.score([PREDICTIONS[3]])
    assert right["rouge1"] == right["rougeL"] == 1
    assert wrong["rouge1"] == wrong["bleu"] == 0


def test_the_table_has_one_row_per_question() -> None:
    table = QuestionAnsweringTask(config()).table(PREDICTIONS)
    assert table["gold"].tolist() == ["France", "Paris", "", ""]
    assert table["predicted"].tolist() == ["the France", "in Paris", "", "Rome"]
    assert table["text"].tolist()[2] == " unanswerable"
    assert table["exact_match"].tolist() == [1, 1, 1, 0]
    assert table["no_answer_score"].tolist() == [-5.0, -4.0, -0.5, -1.5]


SPANS = [  # no-answer scores of [CLS] against the span; each declines above 0
    Prediction("a", "France", (-1.0, -2.0), references=("France",), span="France"),
    Prediction("b", "", (-1.0, 1.0), references=("Paris",), span="Paris"),
    Prediction("c", "", (-1.0, 3.0), span="Rome"),
]


def test_the_best_threshold_of_a_span_head_also_lets_declined_spans_stand() -> None:
    found = QuestionAnsweringTask(config()).score(SPANS)
    assert found["exact_match"] == pytest.approx(2 / 3)
    assert (found["best_exact_match"], found["best_exact_match_threshold"]) == (1, 1.0)
    assert (found["best_f1"], found["best_f1_threshold"]) == (1, 1.0)


def test_the_table_of_a_span_head_has_what_its_best_scores_are_made_of() -> None:
    table = QuestionAnsweringTask(config()).table(SPANS)
    assert table["predicted"].tolist() == ["France", "", ""]
    assert table["span"].tolist() == ["France", "Paris", "Rome"]
    assert "span" not in QuestionAnsweringTask(config()).table(PREDICTIONS)


def test_a_span_is_no_written_answer() -> None:
    """Neither its template nor its no-answer form is looked for in a text of the context."""
    task = QuestionAnsweringTask(config(answer=" <{answer}>."))
    assert task.answer(Prediction("q", "<Unanswerable>.", (-1.0, -1.0), span="<Unanswerable>.")) == "<Unanswerable>."


def test_it_leaves_answers_in_squads_layout_and_a_table_to_look_at(tmp_path: Path) -> None:
    many = [prediction(f" {number}", str(number), name=f"q{number}") for number in range(120)]
    QuestionAnsweringTask(config()).leave(many, tmp_path)
    answers = json.loads((tmp_path / "answers.json").read_text("utf-8"))
    assert answers == {f"q{number}": str(number) for number in range(120)}
    sample = json.loads((tmp_path / "sample_answers.json").read_text("utf-8"))
    assert sample["columns"] == ["id", "question", "gold", "predicted", "exact_match", "f1"]
    assert len(sample["data"]) == 40
    assert sample["data"][1] == ["q3", "Where?", "3", "3", 1.0, 1.0]


def test_it_has_no_labels() -> None:
    task = load_task(config())
    assert (list(task.labels), task.parse(" France"), task.confusion([])) == ([], None, None)


ADVERSARIAL = {
    "id": "7ba1e8f4261d3170fcf42e84a81dd749116fae95", "title": "Brain", "question": "What sare the benifts?",
    "context": "Another approach to brain function is to examine the consequences of damage.",
    "answers": {"text": ["consequences of damage"], "answer_start": [53]},
    "metadata": {"split": "train", "model_in_the_loop": "Combined"},
}  # fmt: skip


@pytest.mark.parametrize("shape", ["jsonl", "parquet", "json"])
def test_a_data_set_is_one_yaml(repository: Path, tmp_path: Path, tokenizer: Any, shape: str) -> None:
    """AdversarialQA in the hub's shape, and in that of its own download, SQuAD's."""
    values = yaml.safe_load((repository / "conf" / "task" / "adversarial_qa.yaml").read_text("utf-8"))["task"]
    task = run_config({"task": values | {"selection_size": 1}}).task
    records = [ADVERSARIAL | {"id": f"id{number}", "question": f"Question {number}?"} for number in range(3)]
    (tmp_path / "adversarial_qa").mkdir()
    for name in ("train", "dev" if shape == "json" else "validation"):
        path = tmp_path / "adversarial_qa" / f"{name}.{shape}"
        if shape == "parquet":
            pd.DataFrame(records).to_parquet(path)
        elif shape == "jsonl":
            path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
        else:
            answers = [{"text": "consequences of damage", "answer_start": 53}]
            asked = [{"id": own["id"], "question": own["question"], "answers": answers} for own in records]
            article = {"title": "Brain", "paragraphs": [{"context": ADVERSARIAL["context"], "qas": asked}]}
            path.write_text(json.dumps({"version": "1.0", "data": [article]}), encoding="utf-8")
    source = sources.resolve(task, str(tmp_path), embedded_model=False)
    sources.check_columns(source, task)
    splits = sources.load(source, task)
    assert splits.test["id"].tolist() == ["id0", "id1", "id2"]
    found = load_task(task).encode(splits.test, tokenizer, Limits(256))
    assert [example.references for example in found.examples] == [("consequences of damage",)] * 3
    assert tokenizer.decode(found.examples[0].candidates[0]) == " consequences of damage"
