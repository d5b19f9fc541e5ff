"""The answers of the definitions, kept up to date record by record and proved equal to them.

One loop for each dataset takes records in, compiled to machine code; whatever order records come
in, the answers are those of the definition. It knows neither systems nor files.
"""
