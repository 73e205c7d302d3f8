# SPDX-License-Identifier: Apache-2.0
"""The programs of examples/python, as a user runs them."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples" / "python"


def run(*arguments):
    return subprocess.run([sys.executable, *arguments], cwd=EXAMPLES, capture_output=True, text=True, check=True).stdout


def test_a_program_for_nixl_connect():
    assert run("-m", "ropeway.dropin", "nixl_program.py") == "from one DONE\nfrom other DONE\n"


WITHOUT_TORCH = "import sys, runpy; sys.modules['torch'] = None; sys.argv[:] = ['encoder.py']; runpy.run_path('encoder.py', run_name='__main__')"


@pytest.fixture(params=["torch", "numpy"])
def encoder(request):
    pytest.importorskip("aiohttp")
    program = ["encoder.py"] if request.param == "torch" else ["-c", WITHOUT_TORCH]
    if request.param == "torch":
        pytest.importorskip("torch")
    process = subprocess.Popen(
        [sys.executable, *program], cwd=EXAMPLES, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    process.library = request.param
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_an_encoder_hands_embeddings_to_a_decoder(encoder):
    port = encoder.stdout.readline().strip()
    lines = run("decoder.py", port, "one two three", "four", "one").splitlines()
    assert [line.split(",")[0].split("(")[0] for line in lines] == ["one two three: ", "four: ", "one: "]
    assert "(3, 1024)" in lines[0] and "(1, 1024)" in lines[1]
    assert ("torch.bfloat16" if encoder.library == "torch" else "float32") in lines[0]
    # The same word has the same embedding.
    assert lines[0].split("first")[1] == lines[2].split("first")[1] != lines[1].split("first")[1]
    for _ in range(3):
        assert encoder.stdout.readline().startswith("fetched by ")


def test_metadata_passes_over_nats():
    pytest.importorskip("nats")
    root = EXAMPLES.parents[1]
    if not (root / "build/release/examples/nats/passing").exists():
        pytest.skip("the program in C is not built")
    result = subprocess.run(
        [root / "examples/nats/run", root / "build/release", sys.executable], capture_output=True, text=True
    )
    if result.returncode == 77:
        pytest.skip("there is no nats-server")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("bytes, the same\n") == 4
