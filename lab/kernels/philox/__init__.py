"""One counter-based generator, Philox 4x32-10, in four languages: same (seed, index), same words everywhere."""

from lab.kernels.philox.reference import normals, normals_from_words, uniforms, uniforms_from_words, words, words_numpy

__all__ = ["normals", "normals_from_words", "uniforms", "uniforms_from_words", "words", "words_numpy"]
