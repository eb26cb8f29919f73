"""Tables as data sets and spreadsheets write them: each layout gives the right diagnosis, patient and reason."""

import numpy as np
import pytest

from hyperderm.errors import CubeError
from hyperderm.ingest.formats.scene_files import read_wavelengths
from hyperderm.ingest.groups import read_groups
from hyperderm.ingest.layouts.diagnosis_words import known
from hyperderm.ingest.layouts.source_tables import read_tables


def said(tmp_path, text, *images, name="t.csv", encoding="utf-8"):
    (tmp_path / name).write_bytes(text.encode(encoding))
    return read_tables(tmp_path).of(images)


ARCHIVE = "isic_id,diagnosis_1,diagnosis_2,diagnosis_3,diagnosis_4\n"
ONE_HOT = "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\n"
Y2020 = "image_name,patient_id,diagnosis,benign_malignant,target\n"
PH2 = (
    'PH2 Dataset,,,,,\n,,,,,\nImage Name,Histological Diagnosis,Common Nevus,Atypical Nevus,Melanoma,"Asymmetry\n(0/1/2)"\n'
)
PH2_TWO = (
    "Image Name;Histological Diagnosis;Clinical Diagnosis;;;Asymmetry\n;;Common Nevus;Atypical Nevus;Melanoma;(0/1/2)\n"
)
PH2_TEXT = "|| Name || Histological Diagnosis || Clinical Diagnosis || Asymmetry ||\n"


@pytest.mark.parametrize(
    ("text", "diagnosis"),
    [
        (ARCHIVE + 'a,Malignant,x,"Melanoma, NOS",\n', "melanoma"),
        (ARCHIVE + 'a,Malignant,x,Melanoma Invasive,"Melanoma Invasive, Superficial spreading"\n', "melanoma"),
        (ARCHIVE + "a,Benign,Benign melanocytic proliferations,Nevus,\n", "nevus"),
        (ARCHIVE + 'a,Benign,x,Nevus,"Nevus, Atypical, Dysplastic, or Clark"\n', "dysplastic_nevus"),
        (ARCHIVE + "a,Benign,x,Seborrheic keratosis,\n", "seborrhoeic_keratosis"),
        (ARCHIVE + "a,Benign,x,Solar lentigo,\n", "solar_lentigo"),
        (ARCHIVE + "a,Indeterminate,,,\n", None),
        (ARCHIVE + "a,Benign,,,\n", None),
        (ONE_HOT + "a,1.0,0.0,0,0,0,0,0,0,0\n", "melanoma"),
        (ONE_HOT.replace(",", ";") + "a;0,0;1,0;0,0;0;0;0;0;0;0\n", "nevus"),
        (ONE_HOT + "a,0,0,0,0,0,0,0,0,1\n", None),
        (Y2020 + "a,IP_1,unknown,benign,0\n", None),
        (Y2020 + "a,IP_1,unknown,malignant,1\n", "melanoma"),
        (Y2020 + "a,IP_1,seborrheic keratosis,benign,0\n", "seborrhoeic_keratosis"),
        ("image_name,target\na,1\n", "melanoma"),
        ("image_id,melanoma,seborrheic_keratosis\na,0.0,1.0\n", "seborrhoeic_keratosis"),
        ("image_id,melanoma,seborrheic_keratosis\na,0.0,0.0\n", "nevus"),
        ("lesion_id,image_id,dx,dx_type\nHAM_1,a,nv,histo\n", "nevus"),
        (PH2 + "a,,X,,,0\n", "nevus"),
        (PH2 + "a,,,x,,0\n", "dysplastic_nevus"),
        (PH2.replace(",", ";") + "a;;;;X;0\n", "melanoma"),
        (PH2_TWO + "a;;X;;;0\n", "nevus"),
        (PH2_TWO + "a;;;X;;0\n", "dysplastic_nevus"),
        (PH2_TWO + "a;;;;X;0\n", "melanoma"),
        ("Image Name,DIAGNOSIS\na,mel\n", "melanoma"),
        ("ImageID,Diagnosis 3\na,Nevus\n", "nevus"),
        (PH2_TEXT + "|| a || || 1 || 0 ||\n", "dysplastic_nevus"),
        ("sep=;\nimage;diagnosis\na;mel\n", "melanoma"),
        ("img_id\tdiagnostic\na.png\tNEV\n", "nevus"),
    ],
)
def test_layouts(tmp_path, text, diagnosis):
    found = said(tmp_path, text, "a", name="t.txt" if "||" in text else "t.csv")
    assert found.said["a"].known() == diagnosis
    assert found.aside == ()
    assert found.used[0].startswith("t.txt" if "||" in text else "t.csv: diagnoses of 1 of 1 images, from ")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (ONE_HOT + "a,1,1,0,0,0,0,0,0,0\n", "t.csv, line 2 marks MEL and NV"),
        (ONE_HOT + "a,0,0,0,0,0,0,0,0,0\n", "t.csv, line 2 marks no diagnosis"),
        (ONE_HOT + "a,.7,.3,0,0,0,0,0,0,0\n", "t.csv, line 2: MEL is '.7', where 0 or 1 is expected"),
        (ONE_HOT + "a,0,0,1,0,0,0,0,0,0\n", "the table calls it 'BCC', which is none of melanoma"),
        (Y2020 + "a,p,nevus,benign,1\n", "line 2 contradicts itself: diagnosis is 'nevus', target is '1'"),
        (Y2020 + "a,p,melanoma,malignant,0\n", "line 2 contradicts itself: diagnosis is 'melanoma', target is '0'"),
        (Y2020 + "a,p,nevus,malignant,0\n", "diagnosis is 'nevus', benign_malignant is 'malignant'"),
        ("image,label,diagnosis\na,mel,nevus\n", "line 2 contradicts itself: label is 'mel', diagnosis is 'nevus'"),
        ("image_id,dx\na,bkl\n", "calls it 'bkl', which is none of"),
        ("image,diagnosis\na,\n", "line 2 leaves its diagnosis empty. Write unknown where nobody knows it."),
        ("image,diagnosis,note\na,Melanoma, NOS,x\n", "t.csv, line 2 has more cells than there are columns"),
        (ARCHIVE + "a,Benign,x,Dermatofibroma,\n", "calls it 'Dermatofibroma'"),
        ("image,diagnosis\nb,mel\n", "the table of diagnoses does not name it"),
    ],
)
def test_rows_that_cannot_be_used_are_named(tmp_path, text, reason):
    found = said(tmp_path, text, "a", "b").said["a"]
    with pytest.raises(CubeError) as caught:
        found.known()
    assert reason in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_encodings_and_separators(tmp_path, encoding, delimiter):
    text = "image,diagnosis\nLäsion1.PNG,mel\nother,nv\n".replace(",", delimiter)
    found = said(tmp_path, text, "läsion1", encoding=encoding)
    assert found.said["läsion1"].diagnosis == "melanoma"
    assert any("cp1252" in one for one in found.used) == (encoding == "cp1252")
    [aside] = found.aside
    assert (aside.file, aside.reason) == ("t.csv", "1 of 2 rows names no image of the source: other")


def test_patients_and_lesions_become_groups(tmp_path):
    text = "image_name,patient_id,lesion_id,diagnosis\na,P1,L1,mel\nb,p1,,mel\nc,,L1,nv\nd,,L2,nv\ne,,L2,nv\nf,,,nv\n"
    found = said(tmp_path, text, *"abcdef")
    assert found.groups == {"a": "P1", "b": "P1", "c": "P1", "d": "L2", "e": "L2"}
    assert found.grouped == "patient_id, lesion_id of t.csv"
    assert "t.csv: 2 groups of images, from patient_id, lesion_id; 1 image without one is a group of its own" in found.used
    assert read_tables(tmp_path, grouping=False).of("abcdef").groups == {}


@pytest.mark.parametrize(
    "title",
    ["PatientID", "patientId", "PATIENT_ID", "Patient No.", "Patient", "patient number", "Patienten-ID", "participant_id",
     "subject", "SubjectID", "case_id", "CaseNo", "group", "LesionID", "lesion-id", "Person ID", "patientid"],
)  # fmt: skip
def test_columns_of_patients_are_known_in_every_spelling(tmp_path, title):
    found = said(tmp_path, f"image,diagnosis,{title}\na,mel,P1\nb,mel,P1\nc,nv,P2\n", *"abc")
    assert found.groups == {"a": "P1", "b": "P1", "c": "P2"}
    assert f"t.csv: 2 groups of images, from {title}" in found.used
    path = tmp_path / "t.csv"
    assert read_groups(path, list("abc")) == {"a": "P1", "b": "P1", "c": "P2"}


def test_other_columns_of_ids_that_repeat_are_named(tmp_path):
    text = "image,diagnosis,patient,visit_no,grid,study_nr,lesion\na,mel,P1,1,x,7,L1\nb,mel,P1,2,x,8,L1\nc,nv,P2,2,x,9,L2\n"
    used = said(tmp_path, text, *"abc").used
    [note] = [one for one in used if "is not used" in one]
    assert note.startswith("t.csv: visit_no is not used: 1 of its 2 values stands at several images. If it says")
    assert "--groups" in note
    used = said(tmp_path, text.replace("patient", "who"), *"abc").used
    assert [one.split()[1] for one in used if "is not used" in one] == ["visit_no", "lesion"]
    assert not any("is not used" in one for one in read_tables(tmp_path, grouping=False).of("abc").used)


def test_diagnoses_and_patients_of_two_tables(tmp_path):
    (tmp_path / "metadata.csv").write_text("image,age_approx,lesion_id\na,3,L\nb,4,L\n")
    found = said(tmp_path, ONE_HOT + "a,1,0,0,0,0,0,0,0,0\nb,0,1,0,0,0,0,0,0,0\n", "a", "b", name="truth.csv")
    assert {image: one.diagnosis for image, one in found.said.items()} == {"a": "melanoma", "b": "nevus"}
    assert found.groups == {"a": "L", "b": "L"}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("t.csv", b"image,age\na,3\n", "it has no column of diagnoses and none of patients. Name it diagnosis, or patient."),
        ("t.csv", b"picture,diagnosis\na,mel\n", "it has no column of images. Name it image."),
        ("t.csv", b"isic_id,target\na,1\n", "no column of diagnoses (benign and malignant are none)"),
        ("t.csv", b"image,diagnosis\n\x81\x00", "cannot be decoded"),
        ("t.csv", b"PK\x03\x04", "a workbook of a spreadsheet. Save it as CSV."),
        ("t.xlsx", b"x", "a workbook of a spreadsheet. Save it as CSV."),
    ],
)
def test_tables_that_are_not_used_are_named(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    found = read_tables(tmp_path)
    [(path, why)] = found.aside
    assert path.name == name
    assert why.startswith("a table that is not used: ")
    assert reason in why
    assert found.of(["a"]).said == {}


@pytest.mark.parametrize(
    ("word", "diagnosis"),
    [
        ("Melanoma in situ", "melanoma"),
        ("Nevus, Spitz", "nevus"),
        ("Clark naevus", "dysplastic_nevus"),
        ("Bowen's disease", "intraepidermal_carcinoma"),
        ("Nevus sebaceous", None),
        ("Nevus of Ota", None),
        ("Melanoma, NOS", "melanoma"),
        ("Melanoma Invasive, Superficial spreading", "melanoma"),
        ("Melanoma in situ, lentigo maligna type", "melanoma"),
        ("Melanoma Invasive, Associated with a nevus", "melanoma"),
        ("melanoma arising in a dysplastic nevus", "melanoma"),
        ("melanoma (in situ)", "melanoma"),
        ("melanoma (less than 0.76 mm)", "melanoma"),
        ("Superficial spreading melanoma (8743/3)", "melanoma"),
        ("Metastatic melanoma", "melanoma"),
        ("melanoma metastasis", "melanoma"),
        ("Malignant melanoma, Clark level III", None),  # Clark's nevus and Clark's level: only in brackets is it clear
        ("Malignant melanoma (Clark level III, Breslow 1.2 mm)", "melanoma"),
        ("Nevus, Atypical, Dysplastic, or Clark", "dysplastic_nevus"),
        ("Nevus, BAP-1 deficient", "nevus"),
        ("reed or spitz nevus", "nevus"),
        ("Nevus, NOS, Compound", "nevus"),
        ("Nevus, Recurrent or persistent", "nevus"),
        ("Nevus (D22.5)", "nevus"),
        ("dysplastic nevus, severe", "dysplastic_nevus"),
        ("common nevus (atypical)", "dysplastic_nevus"),
        ("seborrheic keratosis (L82)", "seborrhoeic_keratosis"),
        ("melanoma excluded", None),
        ("melanoma?", None),
        ("nevus ?", None),
        ("MEL?", None),
        ("no melanoma", None),
        ("not melanoma", None),
        ("rule out melanoma", None),
        ("suspected melanoma", None),
        ("melanoma (excluded)", None),
        ("melanoma unlikely", None),
        ("nevus vs melanoma", None),
        ("nevus or melanoma", None),
        ("melanoma/nevus", None),
        ("nevus, melanoma", None),
        ("melanoma or nevus with a nevus", None),
        ("scar after melanoma", None),
        ("nevus removed", None),
        ("nevus (melanoma)", None),
        ("non-melanoma", None),
        ("BKL", None),
        ("lentigo NOS", None),
    ],
)
def test_words(word, diagnosis):
    assert known(word) == diagnosis


@pytest.mark.parametrize(
    "text", ["nm\n465,0\n470,0\n", "Wellenl\xe4nge\n465,0;\n470;\n", "465.0\n470.0\n", "465,25\n470,5\n"]
)
def test_wavelengths_with_decimal_commas_in_any_encoding(tmp_path, text):
    path = tmp_path / "wavelengths.csv"
    path.write_bytes(text.encode("cp1252"))
    expected = [465.25, 470.5] if "25" in text else [465, 470]
    np.testing.assert_array_equal(read_wavelengths(path), expected)
    path.write_text("465,5\n470,5\n480,5\n")
    with pytest.raises(CubeError, match="a decimal comma, or a second column"):
        read_wavelengths(path)
