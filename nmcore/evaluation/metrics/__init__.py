"""Figures of outputs, a module a family; :mod:`registry` names them all."""
