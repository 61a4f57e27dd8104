"""Tables as people write them: thirty small files, each with what must come out, and what must be said or refused."""

import gzip

import numpy as np
import pandas as pd
import pytest
import torch

from lab import datasets
from lab.datasets import as_table

WANTED = [[1.5, 2.0], [2.5, 3.0], [-3.25, 1000.0], [4.0, 5.0]]
ROWS = "1.5,2,u\n2.5,3,v\n-3.25,1000,u\n4.0,5,v\n"
FILES = {
    "plain": ("a,b,y\n" + ROWS, {}, ""),
    "trailing comma in rows": ("a,b,y\n" + ROWS.replace("\n", ",\n"), {}, "rows end in a separator"),
    "trailing comma everywhere": ("a,b,y,\n" + ROWS.replace("\n", ",\n"), {}, "rows end in a separator"),
    "comment above": (
        "# made by a program\n# on a day\na,b,y\n" + ROWS,
        {},
        "2 comment lines before the table skipped",
    ),
    "comment within": ("a,b,y\n" + ROWS.replace("4.0", "# half\n4.0"), {}, "1 comment line within the table skipped"),
    "semicolons": (("a,b,y\n" + ROWS).replace(",", ";"), {}, "fields separated by ';'"),
    "tabs": (("a,b,y\n" + ROWS).replace(",", "\t"), {}, "separated by tabs"),
    "pipes": (("a,b,y\n" + ROWS).replace(",", "|"), {}, "'|'"),
    "spaces": (("a,b,y\n" + ROWS).replace(",", "   "), {}, "whitespace"),
    "spaces after commas": (("a,b,y\n" + ROWS).replace(",", ",  "), {}, ""),
    "excel's first line": (("sep=;\na,b,y\n" + ROWS).replace(",", ";"), {}, "';'"),
    "decimal comma": (("a,b,y\n" + ROWS).replace(",", ";").replace(".", ","), {}, "decimal comma"),
    "german thousands": ("a;b;y\n1,5;2;u\n2,5;3;v\n-3,25;1.000;u\n4,0;5;v\n", {}, "decimal comma"),
    "quoted decimal comma": ('a,b,y\n"1,5",2,u\n"2,5",3,v\n"-3,25",1000,u\n"4,0",5,v\n', {}, "decimal comma"),
    "quoted thousands": ('a,b,y\n1.5,2,u\n2.5,3,v\n-3.25,"1,000",u\n4.0,5,v\n', {}, "commas group thousands"),
    "swiss thousands": ("a;b;y\n1.5;2;u\n2.5;3;v\n-3.25;1'000;u\n4.0;5;v\n", {}, ""),
    "dollars": ('a,b,y\n1.5,$2,u\n2.5,$3,v\n-3.25,"$1,000.00",u\n4.0,$5,v\n', {}, "column 'b': $ removed"),
    "accountant": ("a,b,y\n1.5,2 €,u\n2.5,3 €,v\n(3.25),1000 €,u\n4.0,5 €,v\n", {}, "€ removed"),
    "percent": ("a,b,y\n1.5%,2,u\n2.5%,3,v\n-3.25%,1000,u\n4.0%,5,v\n", {}, "% removed"),
    "index": (",a,b,y\n0,1.5,2,u\n1,2.5,3,v\n2,-3.25,1000,u\n3,4.0,5,v\n", {}, "'Unnamed: 0' left out"),
    "shuffled index": (",a,b,y\n7,1.5,2,u\n1,2.5,3,v\n4,-3.25,1000,u\n0,4.0,5,v\n", {}, "'Unnamed: 0' left out"),
    "row names": ("a,b,y\np,1.5,2,u\nq,2.5,3,v\nr,-3.25,1000,u\ns,4.0,5,v\n", {}, "taken as row names"),
    "id": ("id,a,b,y\n17,1.5,2,u\n12,2.5,3,v\n93,-3.25,1000,u\n4,4.0,5,v\n", {}, "'id' left out"),
    "no header": (ROWS, {}, "no header"),
    "names in a comment": ("# a,b,y\n" + ROWS, {}, "names taken from the comment"),
    "byte order mark": ("\ufeffa,b,y\n" + ROWS, {}, ""),
    "carriage returns": (("a,b,y\n" + ROWS).replace("\n", "\r\n") + "\r\n", {}, ""),
    "exponents": ("a,b,y\n1.5e0,2,u\n25E-1,3,v\n-3.25,1e3,u\n4.,5,v\n", {}, ""),
    "told": ("a:b:y\n1,5:2:u\n2,5:3:v\n-3,25:1000:u\n4,0:5:v\n", {"separator": ":", "decimal": ","}, ""),
    "empty column": ("a,b,c,y\n1.5,2,,u\n2.5,3,,v\n-3.25,1000,,u\n4.0,5,,v\n", {}, "'c' left out: it has no values"),
    "names of rows": (
        "who,a,b,y\nAnn,1.5,2,u\nBob,2.5,3,v\nCid,-3.25,1000,u\nDee,4.0,5,v\n",
        {},
        "'who' left out: 4 different",
    ),
    "blank lines": ("\n\na,b,y\n1.5,2,u\n\n2.5,3,v\n-3.25,1000,u\n4.0,5,v\n\n", {}, ""),
    "quoted texts": ('"a","b","y"\n1.5,2,"u"\n2.5,3,"v"\n-3.25,1000,"u"\n4.0,5,"v"\n', {}, ""),
}


@pytest.mark.parametrize("case", FILES)
@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_the_same_table_comes_out_of_every_file(tmp_path, case, ending):
    text, options, said = FILES[case]
    data = text.encode()
    path = tmp_path / f"t.{ending}"
    path.write_bytes(gzip.compress(data) if ending.endswith("gz") else data)
    table = datasets.load(path, **options)
    x, y, _ = table.numeric()
    np.testing.assert_allclose(x, WANTED)
    assert y.tolist() == [0, 1, 0, 1]
    assert table.classes == ("u", "v")
    assert said in repr(table)
    assert f"target: {table.target!r}" in repr(table)


def loaded(tmp_path, text, written="utf-8", **options):
    (tmp_path / "t.csv").write_bytes(text.encode(written))
    return datasets.load(tmp_path / "t.csv", **options)


@pytest.mark.parametrize(
    "text, words",
    [
        ("a;y\n1,234;1\n2,500;2\n", "decimal=',' or thousands=','"),
        ('a,b,y\n"1,5",2.25,1\n"2,5",3.5,0\n', "decimal comma .* and a decimal point"),
        ("a,b,y\n1,2,3\n4,5\n6,7,8\n", "row 3 has 2 fields, the first row has 3"),
        ("a,b,y\n1,2,3\n4,5,6,7\n6,7,8\n", "row 3 has 4 fields"),
        ("a,y\n", "no rows|no readable"),
        ("", "no rows|empty|no readable"),
    ],
)
def test_doubtful_and_broken_texts_are_refused_in_words(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        loaded(tmp_path, text)


def test_what_is_told_settles_a_comma(tmp_path):
    text = "a;y\n1,234;1\n2,500;2\n"
    assert loaded(tmp_path, text, decimal=",").frame["a"].tolist() == [1.234, 2.5]
    assert loaded(tmp_path, text, thousands=",").frame["a"].tolist() == [1234, 2500]
    with pytest.raises(ValueError, match="decimal must be one of"):
        loaded(tmp_path, text, decimal=";")


def test_encodings(tmp_path):
    text = "name,y\nJosé,1\nZoë,0\n"
    assert loaded(tmp_path, text).frame["name"].tolist() == ["José", "Zoë"]
    old = loaded(tmp_path, text, "latin-1")
    assert old.frame["name"].tolist() == ["José", "Zoë"]
    assert any("Windows-1252" in note for note in old.notes)
    assert loaded(tmp_path, text, "utf-16", encoding="utf-16").frame["name"].tolist() == ["José", "Zoë"]
    with pytest.raises(ValueError, match="encoding='utf-16'"):
        loaded(tmp_path, text, "utf-16")
    with pytest.raises(ValueError, match="encoding must be one that Python knows"):
        loaded(tmp_path, text, encoding="klingon")


def test_one_question_mark_costs_one_row_and_no_column(tmp_path):
    draw = np.random.default_rng(0)
    a = draw.normal(size=300).round(4)
    text = "a,b,y\n" + "".join(f"{'?' if k == 7 else v},{k % 5},{'p' if v > 0 else 'q'}\n" for k, v in enumerate(a))
    table = loaded(tmp_path, text)
    with pytest.raises(ValueError, match="1 rows with missing values"):
        table.numeric()
    x, y, names = table.numeric(missing="drop")
    assert (len(x), names) == (299, ("a", "b"))
    assert bool(((x[:, 0] > 0) == (y == 0)).all())
    filled, _, _ = table.numeric(missing="mean")
    assert len(filled) == 300
    assert float(filled[7, 0]) == pytest.approx(np.delete(a, 7).mean(), abs=1e-6)
    assert any("'?' read as missing" in note for note in table.notes)
    assert any("1 of 300 rows have missing values ('a' 1)" in note for note in table.notes)


def test_words_among_numbers_are_asked_and_told(tmp_path):
    text = "a,y\n" + "".join(f"{'error' if k == 3 else k / 7},{k % 2}\n" for k in range(20))
    table = loaded(tmp_path, text)
    with pytest.raises(ValueError, match=r"'a' holds numbers and 'error'; say na_values=\['error'\]"):
        table.numeric()
    assert any("'error' among numbers" in note for note in table.notes)
    x, _, _ = loaded(tmp_path, text, na_values=["error"]).numeric(missing="drop")
    assert len(x) == 19


def test_words_that_look_missing_stay_classes(tmp_path):
    text = "a,y\n" + "".join(f"{k},{('None', 'NA', 'Some')[k % 3]}\n" for k in range(12))
    table = loaded(tmp_path, text)
    assert table.classes == ("NA", "None", "Some")
    assert torch.bincount(table.numeric()[1]).tolist() == [4, 4, 4]
    assert any("'NA', 'None' kept as a word" in note for note in table.notes)
    told = loaded(tmp_path, text, na_values=["NA"])
    assert told.classes == ("None", "Some")
    assert len(told.numeric(missing="drop")[0]) == 8


def test_one_empty_label_keeps_classes(tmp_path):
    text = "a,y\n" + "".join(f"{k},{'' if k == 4 else 3 * (k % 2)}\n" for k in range(20))
    table = loaded(tmp_path, text)
    assert table.classes == ("0", "3")
    _, y, _ = table.numeric(missing="mean")
    assert torch.bincount(y).tolist() == [9, 10]


def test_target_type_follows_its_values_and_can_be_told(tmp_path):
    price = loaded(tmp_path, "a,price\n" + "".join(f"{k},{1000 + 7 * k}\n" for k in range(396)))
    assert (price.target, price.classes) == ("price", ())
    y = price.numeric()[1]
    assert y.is_floating_point()
    assert y.tolist() == [1000 + 7 * k for k in range(396)]
    assert any("396 different whole numbers" in note for note in price.notes)
    text = "a,grade\n" + "".join(f"{k},{5 * (k % 2)}\n" for k in range(40))
    assert loaded(tmp_path, text).numeric()[1].unique().tolist() == [0, 1]
    told = loaded(tmp_path, text, target_type="numbers").numeric()[1]
    assert told.unique().tolist() == [0.0, 5.0]
    assert loaded(tmp_path, "a,y\n" + "".join(f"{k},{k / 4}\n" for k in range(40))).classes == ()
    with pytest.raises(ValueError, match="target_type must be one of"):
        loaded(tmp_path, text, target_type="regression")
    with pytest.raises(ValueError, match="did you mean 'grade'"):
        loaded(tmp_path, text, target="grades")


def test_words_dates_and_decimals_become_numbers(tmp_path):
    from decimal import Decimal

    text = "day,smoker,town,y\n" + "".join(
        f"2024-01-{k + 1:02d},{('yes', 'no')[k % 2]},{'ABC'[k % 3]},{k % 2}\n" for k in range(12)
    )
    table = loaded(tmp_path, text)
    x, _, names = table.numeric()
    assert names == ("day", "smoker = yes", "town = A", "town = B", "town = C")
    assert (x[:, 0] - x[0, 0]).tolist() == list(range(12))
    assert float(x[0, 0]) == (pd.Timestamp("2024-01-01") - pd.Timestamp("1970-01-01")).days
    assert x[:, 1].tolist() == [1.0, 0.0] * 6
    assert torch.equal(x[:, 2:].argmax(1), torch.arange(12) % 3)
    for note in (
        "'day': dates, encoded as days",
        "'smoker': two words, encoded as 0 ('no') and 1 ('yes')",
        "'town': 3 words",
    ):
        assert note in repr(table)
    frame = pd.DataFrame({"d": [Decimal("1.25"), Decimal("2.5"), None], "y": [0, 1, 1]})
    frame.to_parquet(tmp_path / "d.parquet")
    x, _, names = datasets.load(tmp_path / "d.parquet").numeric(missing="drop")
    assert (x.tolist(), names) == ([[1.25], [2.5]], ("d",))


@pytest.mark.parametrize(
    "texts, kind",
    [
        (["31/12/2024", "01/02/2024"], "31 Dec"), (["12/31/2024", "02/01/2024"], "31 Dec"), (["31.12.2024", "1.2.2024"], "31 Dec"),
        (["2024/12/31", "2024/02/01"], "31 Dec"), (["2024-12-31T10:00:00Z", "2024-02-01T00:00:00Z"], "31 Dec"),
        (["01/02/2024", "02/03/2024"], "words"),
    ],
)  # fmt: skip
def test_dates_are_read_where_day_and_month_cannot_be_confused(tmp_path, texts, kind):
    frame = loaded(tmp_path, "d,y\n" + "".join(f"{text},1\n" for text in texts)).frame
    if kind == "words":
        assert frame["d"].tolist() == texts
    else:
        assert frame["d"].dt.strftime("%d %b").tolist() == ["31 Dec", "01 Feb"]


def test_timestamps_and_ids_stay_apart(tmp_path):
    stamps = 1_700_000_000 + np.arange(200)
    table = loaded(tmp_path, "t,y\n" + "".join(f"{t},{k % 2}\n" for k, t in enumerate(stamps)))
    x, _, _ = table.numeric()
    assert x[:, 0].tolist() == stamps.tolist()
    assert any("kept in double precision" in note for note in table.notes)
    large = 2**60 + np.arange(200)
    table = loaded(tmp_path, "t,a,y\n" + "".join(f"{t},{k},{k % 2}\n" for k, t in enumerate(large)))
    assert table.frame["t"].tolist() == large.tolist()
    assert table.numeric()[2] == ("a",)
    assert "'t' left out: whole numbers beyond 2^53" in repr(table)
    codes = loaded(tmp_path, "zip,a,y\n01234,1,0\n01234,2,1\n98765,3,0\n98765,4,1\n")
    assert codes.frame["zip"].tolist() == ["01234", "01234", "98765", "98765"]
    assert codes.numeric()[2] == ("zip = 98765", "a")


def test_dropping_most_rows_is_refused(tmp_path):
    text = "a,b,y\n" + "".join(f"{k},{'' if k > 3 else k},{k % 2}\n" for k in range(400))
    table = loaded(tmp_path, text)
    assert any("396 of 400 rows have missing values ('b' 396)" in note for note in table.notes)
    with pytest.raises(ValueError, match="396 of 400 rows have missing values and would be dropped"):
        table.numeric(missing="drop")
    assert len(table.numeric(missing="mean")[0]) == 400


def test_frames_follow_the_rules_of_files():
    frame = pd.DataFrame(
        {"Unnamed: 0": range(40), "a": np.arange(40) / 3, "flag": [True, False] * 20, "y": ["p", "q"] * 20}
    )
    table = as_table(frame)
    x, y, names = table.numeric()
    assert (table.target, names) == ("y", ("a", "flag"))
    assert torch.equal(y, torch.arange(40) % 2)
    assert x[:, 1].tolist() == [1.0, 0.0] * 20
    assert as_table(frame, "flag").classes == ("False", "True")
    with pytest.raises(ValueError, match="for files"):
        as_table(frame, separator=";")
    with pytest.raises(ValueError, match="different names"):
        as_table(pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]))
    with pytest.raises(ValueError, match="300 different words"):
        as_table(pd.DataFrame({"w": [f"w{k % 300}" for k in range(900)], "y": [0, 1, 0] * 300})).numeric()


def test_options_of_tables_are_refused_elsewhere(tmp_path):
    np.save(tmp_path / "a.npy", np.eye(5))
    with pytest.raises(ValueError, match="decimal is for files of tables"):
        datasets.load(tmp_path / "a.npy", decimal=",")
    with pytest.raises(ValueError, match="scale and activation are for images"):
        loaded(tmp_path, "a,y\n1,2\n", scale=3)
    assert datasets.load(datasets.load("wine"), target="ash").target == "ash"
    with pytest.raises(ValueError, match="separator is for files of tables"):
        datasets.load("coins", separator=";")
