"""`mlkit-build --help`."""

from __future__ import annotations

from mlkit_build.config.roots import Roots
from mlkit_build.recipe import MODES, TARGETS
from mlkit_build.verbs import VERBS

_PAGE = """\
mlkit-build turns a trained TensorFlow model into a verified, reproducible package for Google ML Kit and LiteRT apps.

usage:
  mlkit-build recipe=NAME [key=value ...]          build one bundle into dist/NAME/VARIANT
  mlkit-build -m recipe=NAME key=value1,value2     build one bundle per combination
  mlkit-build VERB ...                             see the verbs below

stages: load -> freeze -> convert -> validate -> package. What did not change is reused.

recipes:
{recipes}

keys (all of them: mlkit-build recipe=NAME --cfg job):
  quantization=MODE       {modes}
  quantization.io=TYPE    float32, uint8 or int8
  target=TASK             {targets}
  output_dir=DIR          where bundles go (default: dist)
  cache.dir=DIR           the build cache (default: the platform's, or MLKIT_BUILD_CACHE)
  ui=MODE                 auto, plain, rich, json, quiet
  package.sign.key=FILE   sign the bundle with this private key; or package.sign.sigstore=true
  locked=true             build only what the recipe.lock beside the recipe describes
  jobs=N                  actions at once (default: one per core)
  junit=FILE              verdicts as JUnit XML, also when the build fails; github_summary=FILE or auto for Markdown
  select=WHICH            after a sweep, publish its smallest, fastest or most_accurate variant as dist/NAME/best

verbs:
{verbs}

options:
  --root DIR              another folder with recipes/ and conf/ (also: MLKIT_BUILD_PATH); the current one comes first
  --cfg job, --info       show the composed configuration; how it was composed
  --shell-completion install=bash
                          complete recipes and keys: eval "$(mlkit-build -sc install=bash)"
  --version, --help

exit codes: 0 built; 1 a stage failed; 2 configuration or input wrong; 3 a gate failed; 4 a verification failed; 130 interrupted

examples:
  mlkit-build recipe=mnist
  mlkit-build recipe=mnist quantization=float16
  mlkit-build -m recipe=mnist quantization=float32,float16,dynamic_range,int8 select=smallest
  mlkit-build plan recipe=mnist quantization=int8 quantization.io=uint8
"""


def page(roots: Roots) -> str:
    """Return the help page with the recipes as seen from here."""
    recipes = roots.all_recipes()
    listed = [f"  {recipe.name:<22}  {'built in' if recipe.builtin else recipe.path}" for recipe in recipes]
    verbs = [f"  {verb.usage:<40} {verb.summary}" for verb in VERBS.values()]
    return _PAGE.format(
        recipes="\n".join(listed) or "  none",
        modes=", ".join(MODES),
        targets=", ".join(TARGETS),
        verbs="\n".join(verbs),
    ).rstrip()
