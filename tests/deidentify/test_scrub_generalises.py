"""Notes of like kinds as the corpus has, about people, houses and places that it does not name."""

from __future__ import annotations

import random
from pathlib import Path
from string import Template

import yaml

from sharing.deidentify.scrubbing import scrub

_DRAWN = {
    key: value.split()
    for key, value in yaml.safe_load((Path(__file__).parent / "never_shown.yaml").read_text("utf-8")).items()
}
_NOTES = (
    "患者$a，女，34岁，住址：$p，联系电话19904035376。主因“胸闷”于$d入住我院。",
    "姓名：$a　住院号：8804762　入院日期：$d　主治医师：$b\n现病史：患者3年前无明显诱因出现头晕，血压180/110mmHg。",
    "患者$a之子$b代诉：$d在$h行PCI术，术后规律随访。",
    "出院小结：$a，病案号4059147，工作单位$e。出院带药：阿司匹林100mg qd。",
    "会诊记录 $d 请$h$a主任会诊：PSA 12.6 ng/ml，Gleason评分4+3=7。",
    "护理记录：$a，床号12床，责任护士$b。T 38.5℃ P 112次/分。家属$c签字。",
    "张某某？否，$a本人签署知情同意书，$d，见证人$b，地址$p。",
    "今晨$a主任医师查房，帕金森病诊断明确，建议转$h，家属$b表示理解。",
)


def test_people_houses_and_places_that_the_corpus_does_not_name_are_found_in_every_kind_of_note() -> None:
    drawn = random.Random(7)
    missed, wrong, marked = [], [], 0
    for _ in range(60):
        for note in _NOTES:
            people = {key: drawn.choice(_DRAWN["families"]) + drawn.choice(_DRAWN["given"]) for key in "abc"}
            others = {key[0]: drawn.choice(_DRAWN[key]) for key in ("houses", "places", "employers", "dates")}
            told = {**people, **others}
            named = [value for key, value in told.items() if f"${key}" in note]
            text = Template(note).substitute(told)
            spans = [text[one.start : one.end] for one in scrub(text).spans]
            places = [*named, "8804762", "4059147", "19904035376"]
            marked += len(named)
            missed += [one for one in named if not any(one in span for span in spans)]
            wrong += [one for one in spans if not any(known in one or one in known for known in places)]
    assert marked > 1_400
    assert missed == [] and wrong == []
