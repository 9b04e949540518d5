// The person with the largest box in each raw RGB frame on standard input, from C++17; built and called as raised.c is:
//     c++ -std=c++17 -Inano_c nearest.cpp -Lnano_c -lposert -Wl,-rpath,nano_c -o nearest
#include "posert.h"

#include <cstdio>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

class Model {
public:
    explicit Model(const posert_options &options)
    {
        posert *opened = nullptr;
        const posert_status status = posert_open(&opened, &options);
        handle_.reset(opened);
        if (status != POSERT_OK) throw std::runtime_error(opened ? posert_error(opened) : "no memory");
    }

    posert_people estimate(const std::vector<unsigned char> &rgb, int width, int height)
    {
        const posert_image image{rgb.data(), width, height, std::ptrdiff_t{3} * width, POSERT_RGB};
        posert_people people{};
        if (posert_estimate(handle_.get(), &image, &people) != POSERT_OK) throw std::runtime_error(posert_error(handle_.get()));
        return people;
    }

private:
    struct Close {
        void operator()(posert *p) const { posert_close(p); }
    };
    std::unique_ptr<posert, Close> handle_;
};

int main(int count, char **arguments)
try {
    if (count < 4) throw std::runtime_error("usage: nearest WIDTH HEIGHT MODEL_FOLDER [ONNXRUNTIME_LIBRARY]");
    const int width = std::stoi(arguments[1]), height = std::stoi(arguments[2]);
    posert_options options = posert_default_options();
    options.folder = arguments[3];
    options.onnxruntime = count > 4 ? arguments[4] : nullptr;
    Model model(options);
    std::vector<unsigned char> frame(std::size_t{3} * static_cast<std::size_t>(width) * static_cast<std::size_t>(height));
    for (int number = 0; std::fread(frame.data(), 1, frame.size(), stdin) == frame.size(); ++number) {
        const posert_people people = model.estimate(frame, width, height);
        float largest = 0;
        int nearest = -1;
        for (int n = 0; n < people.count; ++n) {
            const float *box = people.boxes_xyxy + 4 * n;
            const float area = (box[2] - box[0]) * (box[3] - box[1]);
            if (area > largest) largest = area, nearest = n;
        }
        if (nearest >= 0) {
            const float *box = people.boxes_xyxy + 4 * nearest;
            std::cout << "frame " << number << ": " << box[0] << ' ' << box[1] << ' ' << box[2] << ' ' << box[3] << '\n';
        }
    }
    return 0;
} catch (const std::exception &error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
}
