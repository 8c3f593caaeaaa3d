"""Text for LaTeX: every character that it reads as a command, or that its fonts lack without further packages."""

_MATH = {
    "±": r"\pm",
    "·": r"\cdot",
    "−": "-",
    "×": r"\times",
    "<": "<",
    ">": ">",
    "|": "|",
    "σ": r"\sigma",
    "δ": r"\delta",
    "ε": r"\varepsilon",
    "β": r"\beta",
}
_WORDS = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--"}
_TABLE = str.maketrans(
    _WORDS
    | {character: f"\\{character}" for character in "&%$#_{}"}
    | {character: f"${command}$" for character, command in _MATH.items()}
)


def escape_latex(text: str) -> str:
    """Text safe in LaTeX."""
    return text.translate(_TABLE)
