"""Pages: results as one file of HTML for any browser.

Knows results and media, nothing of models or servers.
"""
