// Plain C++ twin of the decoder `cifcaf`, default settings: the map zeroed whole, every connection of an edge read for
// every look-up, a std::priority_queue. Same results; written for clarity, compiled with -O3. See cifcaf.py.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <queue>
#include <set>
#include <utility>
#include <vector>

struct Joint { double v = 0, x = 0, y = 0, s = 0; };
struct Seed { float v; int k; float x, y, s; };
struct Row { float c, xa, ya, xb, yb, sa, sb; };
struct Entry { float key; int turn, way; bool computed; Joint joint; };
struct Less {
  bool operator()(const Entry &a, const Entry &b) const {
    return a.key < b.key || (a.key == b.key && a.turn > b.turn);
  }
};
using Pose = std::vector<Joint>;

static int clip(double value, int low, int high) { return (int)std::min(std::max(value, (double)low), (double)high); }

struct Maps {
  int parts, high, wide;
  std::vector<float> values;
  std::vector<uint8_t> taken;
  int half_high() const { return high / 2 + 1; }
  int half_wide() const { return wide / 2 + 1; }

  void resize(int k, int h, int w) {
    parts = k, high = h, wide = w;
    values.resize((size_t)k * h * w);
    std::fill(values.begin(), values.end(), 0.f);
    taken.resize((size_t)k * half_high() * half_wide());
  }
  void add(int k, float x, float y, float sigma, float peak) {
    int left = clip(x - sigma, 0, wide - 1), right = clip(x + sigma + 1, left + 1, wide);
    int top = clip(y - sigma, 0, high - 1), bottom = clip(y + sigma + 1, top + 1, high);
    float sigma2 = sigma * sigma;
    for (int j = top; j < bottom; ++j) {
      float dy2 = (j - y) * (j - y);
      float *row = &values[((size_t)k * high + j) * wide];
      for (int i = left; i < right; ++i) {
        float dx2 = (i - x) * (i - x);
        if (dx2 + dy2 > sigma2) continue;
        float e = 1.f;
        if (!(dx2 < 0.25f && dy2 < 0.25f)) {
          e = 1.f - (dx2 + dy2) / sigma2 / 16.f;
          e *= e, e *= e, e *= e;
        }
        row[i] = std::min(row[i] + peak * e, 1.f);
      }
    }
  }
  double look(int k, double x, double y, double otherwise) const {
    if (x < -0.49 || y < -0.49 || x > wide - 0.51 || y > high - 0.51) return otherwise;
    return values[((size_t)k * high + (int)(y + 0.5)) * wide + (int)(x + 0.5)];
  }
  void free_all() { std::fill(taken.begin(), taken.end(), 0); }
  void mark(int k, const Joint &j) {
    double x = j.x / 2, y = j.y / 2, r = std::max(2.0, j.s / 2);
    int left = clip(x - r, 0, half_wide() - 1), right = clip(x + r, left + 1, half_wide());
    int top = clip(y - r, 0, half_high() - 1), bottom = clip(y + r, top + 1, half_high());
    for (int row = top; row < bottom; ++row)
      std::memset(&taken[((size_t)k * half_high() + row) * half_wide() + left], 1, right - left);
  }
  bool occupied(int k, double x, double y) const {
    int row = clip(y / 2, 0, half_high() - 1), column = clip(x / 2, 0, half_wide() - 1);
    return taken[((size_t)k * half_high() + row) * half_wide() + column];
  }
};

static std::vector<Seed> find_seeds(const float *cif, int parts, int cells, float stride, Maps &hr) {
  std::vector<Seed> seeds;
  for (int pass = 0; pass < 2; ++pass)
    for (int k = 0; k < parts; ++k) {
      const float *f = cif + (size_t)k * 5 * cells;
      for (int i = 0; i < cells; ++i) {
        float c = f[cells + i], x = f[2 * cells + i] * stride, y = f[3 * cells + i] * stride;
        float s = f[4 * cells + i] * stride;
        if (pass == 0) {
          if (c >= 0.3f) hr.add(k, x, y, std::max(1.f, 0.5f * s), c / 16.f);
        } else if (c >= 0.2f) {
          float v = (float)(0.9 * hr.look(k, x, y, -1) + 0.1 * c);
          if (v >= 0.2f) seeds.push_back({v, k, x, y, s});
        }
      }
    }
  std::stable_sort(seeds.begin(), seeds.end(), [](const Seed &a, const Seed &b) { return a.v > b.v; });
  return seeds;
}

static void score(const float *caf, const int64_t *edges, int limbs, int cells, float stride, const Maps &hr,
                  std::vector<std::vector<Row>> &rows) {
  rows.assign(2 * limbs, {});
  for (int l = 0; l < limbs; ++l) {
    const float *f = caf + (size_t)l * 8 * cells;
    for (int i = 0; i < cells; ++i) {
      float c = f[cells + i];
      if (!(c >= 0.3f)) continue;
      float xa = f[2 * cells + i] * stride, ya = f[3 * cells + i] * stride, xb = f[4 * cells + i] * stride;
      float yb = f[5 * cells + i] * stride, sa = f[6 * cells + i] * stride, sb = f[7 * cells + i] * stride;
      float to_b = (float)(c * (0.1 + 0.9 * hr.look(edges[2 * l + 1], xb, yb, 0)));
      float to_a = (float)(c * (0.1 + 0.9 * hr.look(edges[2 * l], xa, ya, 0)));
      if (to_b > 0.3f) rows[2 * l].push_back({to_b, xa, ya, xb, yb, sa, sb});
      if (to_a > 0.3f) rows[2 * l + 1].push_back({to_a, xb, yb, xa, ya, sb, sa});
    }
  }
}

static Joint blend(const std::vector<Row> &rows, double x, double y, double s) {
  s = std::max(s, 0.5);
  double half = s / 2, best = 0, second = 0;
  const Row *a = nullptr, *b = nullptr;
  for (const Row &row : rows) {
    double dx = row.xa - x, dy = row.ya - y;
    if (std::abs(dx) > half || std::abs(dy) > half) continue;
    double v = std::exp(-0.5 * (dx * dx + dy * dy) / (0.25 * s * s)) * row.c;
    if (v >= best) second = best, b = a, best = v, a = &row;
    else if (v > second) second = v, b = &row;
  }
  if (!a || best == 0) return {};
  double sa = std::max(0.f, a->sb);
  Joint alone{0.5 * best, a->xb, a->yb, sa};
  if (!b || second < 0.01 || second < 0.5 * best) return alone;
  double dx = a->xb - b->xb, dy = a->yb - b->yb, sb = std::max(0.f, b->sb), sum = best + second;
  if (dx * dx + dy * dy > sa * sa / 4) return alone;
  return {0.5 * sum, (best * a->xb + second * b->xb) / sum, (best * a->yb + second * b->yb) / sum,
          (best * sa + second * sb) / sum};
}

struct Grower {
  const int64_t *edges;
  int limbs;
  const std::vector<std::vector<Row>> &rows;
  std::priority_queue<Entry, std::vector<Entry>, Less> frontier;
  std::set<int> added;
  int turn = 0;

  int start(int way) const { return (int)edges[way]; }
  int end(int way) const { return (int)edges[way ^ 1]; }
  void add(const Pose &pose, int joint) {
    for (int way = 0; way < 2 * limbs; ++way)
      if (start(way) == joint && pose[end(way)].v <= 0 && added.insert(way).second)
        frontier.push({(float)std::sqrt(pose[joint].v), turn++, way, false, {}});
  }
  bool target(const Pose &pose, int way, Joint &out) const {
    const Joint &a = pose[start(way)];
    out = blend(rows[way], a.x, a.y, a.s);
    if (out.v == 0) return false;
    out.v = std::sqrt(out.v * a.v);
    if (out.v < 0.15 || out.v < 0.5 * a.v) return false;
    Joint back = blend(rows[way ^ 1], out.x, out.y, out.s);
    return back.v != 0 && std::abs(a.x - back.x) + std::abs(a.y - back.y) <= a.s;
  }
  void grow(Pose &pose) {
    for (int k = 0; k < (int)pose.size(); ++k)
      if (pose[k].v > 0) add(pose, k);
    while (!frontier.empty()) {
      Entry top = frontier.top();
      frontier.pop();
      if (pose[end(top.way)].v > 0) continue;
      if (!top.computed) {
        if (target(pose, top.way, top.joint))
          frontier.push({(float)top.joint.v, turn++, top.way, true, top.joint});
        continue;
      }
      pose[end(top.way)] = top.joint;
      add(pose, end(top.way));
    }
  }
};

static double mean(const Pose &pose) {
  double sum = 0;
  for (const Joint &joint : pose) sum += joint.v;
  return sum / pose.size();
}

static void suppress(std::vector<Pose> &poses, Maps &maps) {
  auto better = [](const Pose &a, const Pose &b) { return mean(a) > mean(b); };
  maps.free_all();
  std::stable_sort(poses.begin(), poses.end(), better);
  for (Pose &pose : poses)
    for (int k = 0; k < (int)pose.size(); ++k) {
      if (pose[k].v <= 0) continue;
      if (maps.occupied(k, pose[k].x, pose[k].y)) pose[k].v *= 1e-5;
      else maps.mark(k, pose[k]);
    }
  for (Pose &pose : poses)
    for (Joint &joint : pose)
      if (joint.v <= 0.15) joint.v = 0;
  poses.erase(std::remove_if(poses.begin(), poses.end(), [](const Pose &p) { return mean(p) < 0.15; }), poses.end());
  std::stable_sort(poses.begin(), poses.end(), better);
}

// Joints (score, x, y, scale) of each person to `out`; returns how many people. `edges` are L pairs.
extern "C" int64_t decode(const float *cif, const float *caf, const int64_t *edges, int64_t parts, int64_t limbs,
                          int64_t h, int64_t w, int64_t stride, double *out, int64_t room) {
  static Maps maps;
  maps.resize(parts, (h - 1) * stride + 1, (w - 1) * stride + 1);
  std::vector<Seed> seeds = find_seeds(cif, parts, h * w, stride, maps);
  std::vector<std::vector<Row>> rows;
  score(caf, edges, limbs, h * w, stride, maps, rows);
  maps.free_all();
  std::vector<Pose> poses;
  for (const Seed &seed : seeds) {
    if (maps.occupied(seed.k, seed.x, seed.y)) continue;
    Pose pose(parts);
    pose[seed.k] = {seed.v, seed.x, seed.y, seed.s};
    Grower{edges, (int)limbs, rows, {}, {}}.grow(pose);
    for (int k = 0; k < (int)parts; ++k)
      if (pose[k].v > 0) maps.mark(k, pose[k]);
    poses.push_back(pose);
  }
  suppress(poses, maps);
  int64_t count = std::min<int64_t>(room, poses.size());
  for (int64_t i = 0; i < count; ++i) std::memcpy(out + i * parts * 4, poses[i].data(), parts * sizeof(Joint));
  return count;
}
