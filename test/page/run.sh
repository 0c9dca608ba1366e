#!/bin/sh
# Opens pages of `vanity report` in Chromium and looks at them: test/page/run.sh [folder for screenshots].
# Prints "N passed, N failed". Without Chromium it says so; in CI (CI=true) that is a failure.
cd "$(dirname "$0")/../.." || exit 2
for name in chromium chromium-browser google-chrome; do
  CHROMIUM=$(command -v "$name") && break
done
if [ -z "$CHROMIUM" ]; then
  echo "there is no chromium (apt-get install chromium fonts-dejavu-core)"
  [ "$CI" = true ] && echo "0 passed, 1 failed" && exit 1
  echo "skipped"
  exit 0
fi
[ -f dist/report/wake/html.js ] || npm run --silent build:ts || exit 1
export CHROMIUM
exec node test/page/page.js "$@"
