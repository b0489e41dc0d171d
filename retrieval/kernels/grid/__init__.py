"""The points of a symmetric grid whose directions are nearest to vectors'."""
