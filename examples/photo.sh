#!/usr/bin/env bash
# People of a photo from a server (`posert serve nano`):  ./photo.sh PHOTO [http://127.0.0.1:8080]
set -euo pipefail
photo=$1 server=${2:-http://127.0.0.1:8080}
curl --fail --silent --show-error --retry 20 --retry-connrefused --retry-delay 1 "$server/readyz" >/dev/null
curl --fail --silent --show-error --data-binary @"$photo" "$server/v1/people?max_people=3" |
    python3 -c '
import json, sys
for person in json.load(sys.stdin)["people"]:
    print("score", person["score"], "box", *person["box_xyxy"])'
