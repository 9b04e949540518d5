// Plain C++ twin of the decoder `paf` on maps taken as they are (no up-sampling, no smoothing), first-match assembly.
// Same algorithm, same order of operations; written for clarity, compiled with -O3. See paf.py.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

struct Peak { float x, y, score; };
struct Limb { int a, b; float value; };
struct Person { std::vector<int> ids; float score; int parts; };

static void find_peaks(const float *map, int h, int w, float threshold, std::vector<Peak> &peaks) {
  peaks.clear();
  for (int y = 0; y < h; ++y) {
    const float *row = map + (size_t)y * w;
    int above = 0;
    for (int x = 0; x < w; ++x) above |= row[x] > threshold;
    if (!above) continue;
    for (int x = 0; x < w; ++x) {
      float v = row[x];
      if (!(v > threshold) || !std::isfinite(v)) continue;
      if ((x > 0 && row[x - 1] > v) || (x + 1 < w && row[x + 1] > v)) continue;
      bool largest = true;
      for (int j = std::max(0, y - 1); j <= std::min(h - 1, y + 1) && largest; ++j)
        for (int i = std::max(0, x - 1); i <= std::min(w - 1, x + 1); ++i)
          if (map[(size_t)j * w + i] > v) { largest = false; break; }
      if (largest) peaks.push_back({(float)x, (float)y, v});
    }
  }
}

static float limb_value(const float *fx, const float *fy, int h, int w, const Peak &a, const Peak &b) {
  float vx = b.x - a.x, vy = b.y - a.y, length = std::sqrt(vx * vx + vy * vy);
  if (length < 1e-12f) return 0;
  float ux = vx / length, uy = vy / length, step_x = vx / 10, step_y = vy / 10, total = 0;
  int spare = 3;
  for (int i = 0; i < 10; ++i) {
    int x = std::min((int)(a.x + i * step_x + 0.5f), w - 1), y = std::min((int)(a.y + i * step_y + 0.5f), h - 1);
    float t = ux * fx[(size_t)y * w + x] + uy * fy[(size_t)y * w + x];
    total += t;
    if (!(t > 0.05f) && --spare < 0) return 0;
  }
  float value = total / 10 + std::min(0.0f, 0.5f * h / length - 1);
  return value > 0 && std::isfinite(value) ? value : 0;
}

static void add_limb(std::vector<Person> &people, int parts, bool seeds, int a, int b, int id_a, int id_b, float score_a,
                     float score_b, float value) {
  int matches = 0, r = 0, s = 0;
  for (int p = 0; p < (int)people.size(); ++p)
    if (people[p].ids[a] == id_a || people[p].ids[b] == id_b) {
      if (matches == 0) r = p;
      if (matches == 1) s = p;
      ++matches;
    }
  if (matches == 0 && seeds) {
    Person person{std::vector<int>(parts, -1), score_a + score_b + value, 2};
    person.ids[a] = id_a;
    person.ids[b] = id_b;
    people.push_back(std::move(person));
  } else if (matches == 1 || matches == 2) {
    bool disjoint = matches == 2;
    for (int k = 0; k < parts && disjoint; ++k) disjoint = people[r].ids[k] < 0 || people[s].ids[k] < 0;
    if (disjoint) {
      for (int k = 0; k < parts; ++k)
        if (people[s].ids[k] >= 0) people[r].ids[k] = people[s].ids[k];
      people[r].score += people[s].score + value;
      people[r].parts += people[s].parts;
      people.erase(people.begin() + s);
    } else if (matches == 2 || people[r].ids[b] != id_b) {
      people[r].ids[b] = id_b;
      people[r].parts += 1;
      people[r].score += score_b + value;
    }
  }
}

extern "C" int64_t decode(const float *maps, const float *pafs, int64_t parts, int64_t limbs, int64_t h, int64_t w,
                          const int64_t *edges, const int64_t *channels, float *keypoints, float *scores) {
  size_t area = (size_t)h * w;
  std::vector<std::vector<Peak>> peaks(parts);
  std::vector<int> base(parts + 1, 0);
  for (int k = 0; k < parts; ++k) {
    find_peaks(maps + k * area, h, w, 0.05f, peaks[k]);
    base[k + 1] = base[k] + (int)peaks[k].size();
  }
  std::vector<Person> people;
  std::vector<Limb> candidates;
  for (int edge = 0; edge < limbs; ++edge) {
    int a = edges[2 * edge], b = edges[2 * edge + 1];
    const float *fx = pafs + channels[2 * edge] * area, *fy = pafs + channels[2 * edge + 1] * area;
    candidates.clear();
    for (int i = 0; i < (int)peaks[a].size(); ++i)
      for (int j = 0; j < (int)peaks[b].size(); ++j) {
        float value = limb_value(fx, fy, h, w, peaks[a][i], peaks[b][j]);
        if (value > 0) candidates.push_back({i, j, value});
      }
    std::stable_sort(candidates.begin(), candidates.end(), [](const Limb &p, const Limb &q) { return p.value > q.value; });
    std::vector<char> used_a(peaks[a].size(), 0), used_b(peaks[b].size(), 0);
    for (const Limb &limb : candidates) {
      if (used_a[limb.a] || used_b[limb.b]) continue;
      used_a[limb.a] = used_b[limb.b] = 1;
      add_limb(people, parts, edge < 17, a, b, base[a] + limb.a, base[b] + limb.b, peaks[a][limb.a].score,
               peaks[b][limb.b].score, limb.value);
    }
  }
  int64_t count = 0;
  for (const Person &person : people) {
    if (person.parts < 4 || person.score / person.parts < 0.3f) continue;
    for (int k = 0; k < parts; ++k) {
      float *out = keypoints + (count * parts + k) * 3;
      out[0] = out[1] = out[2] = 0;
      if (person.ids[k] < 0) continue;
      const Peak &peak = peaks[k][person.ids[k] - base[k]];
      out[0] = peak.x / w * 8 * w, out[1] = peak.y / h * 8 * h, out[2] = peak.score;
    }
    scores[count++] = person.score / person.parts;
  }
  return count;
}
