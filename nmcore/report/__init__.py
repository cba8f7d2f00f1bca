"""Results as data and in words: report, warnings, tables, pages."""
