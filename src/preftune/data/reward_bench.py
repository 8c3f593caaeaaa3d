"""RewardBench's subsets by section (Lambert et al. 2024, arXiv 2403.13787).

A section has one part or two; the parts weigh alike, and inside a part every pair does. Of its filtered pairs 447 are of
mathematics and 984 of code, which RewardBench weighs equally.
"""

SECTIONS: dict[str, tuple[tuple[str, ...], ...]] = {
    "Chat": (("alpacaeval-easy", "alpacaeval-length", "alpacaeval-hard", "mt-bench-easy", "mt-bench-med"),),
    "Chat Hard": (
        (
            "mt-bench-hard", "llmbar-natural", "llmbar-adver-neighbor", "llmbar-adver-GPTInst", "llmbar-adver-GPTOut",
            "llmbar-adver-manual",
        ),
    ),
    "Safety": (
        ("refusals-dangerous", "refusals-offensive", "xstest-should-refuse", "xstest-should-respond", "donotanswer"),
    ),
    "Reasoning": (("math-prm",), ("hep-cpp", "hep-go", "hep-java", "hep-js", "hep-python", "hep-rust")),
}  # fmt: skip
SUBSETS = tuple(subset for parts in SECTIONS.values() for part in parts for subset in part)
