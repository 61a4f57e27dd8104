"""Soft bodies of triangles or tetrahedra in contact with rigid bodies: see :func:`element_step`."""

from lab.kernels.element_step.public import Bodies, ElementMesh, ElementState, element_step

__all__ = ["Bodies", "ElementMesh", "ElementState", "element_step"]
