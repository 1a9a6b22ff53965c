"""Invented patients: names, resident identity numbers with a right check character, addresses, telephones.

Nobody can be meant: the district ``99`` of every area code has never been given out, nor has the telephone prefix.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_FAMILIES: Final = _words(
    "王 李 张 刘 陈 杨 黄 赵 吴 周 徐 孙 马 朱 胡 林 郭 何 高 罗 郑 梁 谢 宋 唐 欧阳 司马 诸葛 上官"
)
_GIVEN_MALE: Final = _words("伟 强 磊 军 勇 杰 涛 明 超 刚 平 辉 鹏 志远 建国 文博 子轩 浩然 国栋 俊熙 𠮷祥 龑")
_GIVEN_FEMALE: Final = _words("芳 娜 敏 静 丽 艳 娟 霞 燕 玲 婷 雪梅 桂英 秀兰 雨桐 欣怡 梓涵 媈 䶮 思妍")
#: Names that are no family name and given name: written with the middle dot.
_DOTTED_MALE: Final = _words("买买提·吐尔逊 扎西·多吉 巴特尔·苏和")
_DOTTED_FEMALE: Final = _words("阿依古丽·买买提 古丽娜尔·艾力 卓玛·央金")
_AREAS: Final = (
    ("110199", "北京市", "北京市", "示范区", "100000"),
    ("310199", "上海市", "上海市", "示范区", "200000"),
    ("440399", "广东省", "深圳市", "示范区", "518000"),
    ("510199", "四川省", "成都市", "示范区", "610000"),
    ("650199", "新疆维吾尔自治区", "乌鲁木齐市", "示范区", "830000"),
)
_STREETS: Final = _words("杏林路 长安街 建设路 人民路 和平里 解放大道 中山东路 学府街")
#: GB/T 3304: Han, Mongol, Hui, Tibetan, Uyghur, Zhuang.
_NATIONS: Final = (("01", "汉族"), ("02", "蒙古族"), ("03", "回族"), ("04", "藏族"), ("05", "维吾尔族"), ("08", "壮族"))


@dataclass(frozen=True, slots=True)
class Patient:
    """Somebody who does not exist.

    Attributes:
        number: From 0; hospitals make their record numbers of it.
        name: As it is written, family name first.
        sex: ``M`` or ``F``.
        born: Birth date.
        identity: Resident identity number, 18 characters (GB 11643).
        phone: Mobile telephone, 11 digits.
        area: Area code, province, city, district, postal code.
        street: Street, number and flat.
        nation: Code and name of GB/T 3304.
    """

    number: int
    name: str
    sex: str
    born: date
    identity: str
    phone: str
    area: tuple[str, str, str, str, str]
    street: str
    nation: tuple[str, str]


def check_character(digits: str) -> str:
    """Return the check character of the 17 digits of an identity number (GB 11643, ISO 7064 MOD 11-2)."""
    total = 0
    for digit in digits:
        total = (total + int(digit)) * 2
    return "10X98765432"[total % 11]


def patient(seed: int, number: int) -> Patient:
    """Return the patient of this number in the region of this seed, the same every time."""
    chance = random.Random(f"patient {seed} {number}")
    sex = chance.choice("MF")
    area = chance.choice(_AREAS)
    born = date(1935, 1, 1) + timedelta(days=chance.randrange(89 * 365))
    # The last digit of the three that follow the birth date is odd for men and even for women.
    order = chance.randrange(500) * 2 + (sex == "M")
    digits = f"{area[0]}{born:%Y%m%d}{order:03d}"
    house, block, flat = chance.randrange(1, 300), chance.randrange(1, 30), chance.randrange(101, 2600)
    street = f"{chance.choice(_STREETS)}{house}号{block}栋{flat}室"
    return Patient(
        number, _name(chance, sex, number), sex, born, digits + check_character(digits),
        f"1990000{chance.randrange(10_000):04d}", area, street, _nation(chance),
    )  # fmt: skip


def staff(seed: int, number: int) -> tuple[str, str]:
    """Return the code and name of a member of staff."""
    chance = random.Random(f"staff {seed} {number}")
    return f"D{1000 + number}", _name(chance, chance.choice("MF"), 1)


def _nation(chance: random.Random) -> tuple[str, str]:
    return _NATIONS[0] if chance.random() < 0.8 else chance.choice(_NATIONS)


def _name(chance: random.Random, sex: str, number: int) -> str:
    if number % 23 == 22:
        return chance.choice(_DOTTED_MALE if sex == "M" else _DOTTED_FEMALE)
    return chance.choice(_FAMILIES) + chance.choice(_GIVEN_MALE if sex == "M" else _GIVEN_FEMALE)
