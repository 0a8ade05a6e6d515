"""The blog app of the tutorial. A second version differs in its text."""

from flask import Flask

import task

app = Flask(__name__)
title = "My Blog" if task.VERSION == "1" else f"My Blog version {task.VERSION}"


@app.get("/blog")
def blog():
    return f"{title}, answered by {task.NAME}\n"


task.run(app)
