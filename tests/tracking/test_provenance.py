import hashlib
import subprocess

from hyperderm.tracking.provenance import provenance


def test_commit_dirty_and_lock(tmp_path):
    (tmp_path / "requirements.lock").write_text("numpy==2\n")
    nowhere = provenance(tmp_path)
    assert nowhere["hyperderm.git_commit"] == "unknown"
    assert nowhere["hyperderm.lock_sha256"] == hashlib.sha256(b"numpy==2\n").hexdigest()
    assert nowhere["hyperderm.mlflow"].startswith("3.")

    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    clean = provenance(tmp_path)["hyperderm.git_commit"]
    assert len(clean) == 40
    (tmp_path / "requirements.lock").write_text("numpy==3\n")
    assert provenance(tmp_path)["hyperderm.git_commit"] == f"{clean}-dirty"


def test_no_git_program_and_no_lock(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    facts = provenance(tmp_path)
    assert facts["hyperderm.git_commit"] == "unknown"
    assert facts["hyperderm.lock_sha256"] == "unknown"
