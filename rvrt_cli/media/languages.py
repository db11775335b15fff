"""Languages of tracks: any spelling in, the one that a container can state out (ISO 639-2; BCP 47's first part)."""

from __future__ import annotations

import re

# ISO 639-1 to ISO 639-2/T: what BCP 47 tags ("en-US", "zh_Hans") begin with.
TWO_LETTERS = dict(
    re.findall(
        r"(\w+):(\w+)",
        "aa:aar ab:abk ae:ave af:afr ak:aka am:amh an:arg ar:ara as:asm av:ava ay:aym az:aze ba:bak be:bel bg:bul bi:bis "
        "bm:bam bn:ben bo:bod br:bre bs:bos ca:cat ce:che ch:cha co:cos cr:cre cs:ces cu:chu cv:chv cy:cym da:dan de:deu "
        "dv:div dz:dzo ee:ewe el:ell en:eng eo:epo es:spa et:est eu:eus fa:fas ff:ful fi:fin fj:fij fo:fao fr:fra fy:fry "
        "ga:gle gd:gla gl:glg gn:grn gu:guj gv:glv ha:hau he:heb hi:hin ho:hmo hr:hrv ht:hat hu:hun hy:hye hz:her ia:ina "
        "id:ind ie:ile ig:ibo ii:iii ik:ipk io:ido is:isl it:ita iu:iku iw:heb ja:jpn jv:jav ka:kat kg:kon ki:kik kj:kua "
        "kk:kaz kl:kal km:khm kn:kan ko:kor kr:kau ks:kas ku:kur kv:kom kw:cor ky:kir la:lat lb:ltz lg:lug li:lim ln:lin "
        "lo:lao lt:lit lu:lub lv:lav mg:mlg mh:mah mi:mri mk:mkd ml:mal mn:mon mr:mar ms:msa mt:mlt my:mya na:nau nb:nob "
        "nd:nde ne:nep ng:ndo nl:nld nn:nno no:nor nr:nbl nv:nav ny:nya oc:oci oj:oji om:orm or:ori os:oss pa:pan pi:pli "
        "pl:pol ps:pus pt:por qu:que rm:roh rn:run ro:ron ru:rus rw:kin sa:san sc:srd sd:snd se:sme sg:sag si:sin sk:slk "
        "sl:slv sm:smo sn:sna so:som sq:sqi sr:srp ss:ssw st:sot su:sun sv:swe sw:swa ta:tam te:tel tg:tgk th:tha ti:tir "
        "tk:tuk tl:tgl tn:tsn to:ton tr:tur ts:tso tt:tat tw:twi ty:tah ug:uig uk:ukr ur:urd uz:uzb ve:ven vi:vie vo:vol "
        "wa:wln wo:wol xh:xho yi:yid yo:yor za:zha zh:zho zu:zul",
    )
)
NAMES = dict(
    re.findall(
        r"(\w+):(\w+)",
        "arabic:ara chinese:zho czech:ces danish:dan deutsch:deu dutch:nld english:eng español:spa finnish:fin français:fra "
        "french:fra german:deu greek:ell hebrew:heb hindi:hin hungarian:hun italian:ita italiano:ita japanese:jpn korean:kor "
        "norwegian:nor persian:fas polish:pol portuguese:por português:por romanian:ron russian:rus spanish:spa svenska:swe "
        "swedish:swe thai:tha turkish:tur ukrainian:ukr vietnamese:vie",
    )
)
# The bibliographic codes that differ (ISO 639-2/B).
BIBLIOGRAPHIC = {
    "sqi": "alb", "hye": "arm", "eus": "baq", "mya": "bur", "zho": "chi", "ces": "cze", "nld": "dut", "fra": "fre", "kat": "geo",
    "deu": "ger", "ell": "gre", "isl": "ice", "mkd": "mac", "mri": "mao", "msa": "may", "fas": "per", "ron": "rum", "slk": "slo",
    "bod": "tib", "cym": "wel",
}  # fmt: skip
# The codes for which FFmpeg's MOV muxer finds a QuickTime language; test_media_languages.py asks it.
QUICKTIME = frozenset(
    re.findall(
        r"\w+",
        "alb amh ara arm asm aym aze baq bel ben bul bur cat ces chi dan dut dzo eng epo est fin fra geo ger gre grn guj "
        "heb hin hun ice ind ita jav jpn kan kas kaz khm kin kir kor kur lao lat lav lit mac mal mar may mlg mlt mol mon "
        "nep nor nya ori orm per pol por pus que ron run rus san sin slk slv snd som spa swa tam tat tel tgk tgl tha tib "
        "tir tuk tur uig ukr urd uzb vie wel yid",
    )
)


def same_language(code: str | None) -> str:
    """A spelling that is equal for all spellings of a language: "de", "deu", "ger" and "German" are "ger"; none is "und"."""
    text = (code or "und").strip().lower()
    first = re.split(r"[-_]", text)[0]
    three = NAMES.get(text) or TWO_LETTERS.get(first) or first
    return BIBLIOGRAPHIC.get(three, three) or "und"


def written_language(code: str | None, container: str) -> str | None:
    """How ``container`` states the language ``code`` of a source; None where it cannot, or there is none.

    Matroska takes any text. MP4 packs three letters, QuickTime has a number for each of its languages.
    """
    if code is None or not code.strip():
        return None
    if container in ("mkv", "webm"):
        return code
    known = same_language(code)
    if known == "und" or not re.fullmatch("[a-z]{3}", known):
        return None
    if container == "mov":
        spellings = [known, *(t for t, b in BIBLIOGRAPHIC.items() if b == known)]
        return next((spelling for spelling in spellings if spelling in QUICKTIME), None)
    return code if re.fullmatch("[a-z]{3}", code) else known
