"""What users give: data files, arrays, pictures, and how they feed a model."""
