/* SPDX-License-Identifier: Apache-2.0 */
/* The same from C++: one connector writes into the memory that another one offers. */
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <ropeway.h>
#include <vector>

namespace {

struct deleter {
    void operator()(ropeway_connector_t *connector) const {
        ropeway_connector_destroy(connector);
    }
    void operator()(ropeway_operation_t *operation) const {
        ropeway_operation_release(operation);
    }
};
using connector_ptr = std::unique_ptr<ropeway_connector_t, deleter>;
using operation_ptr = std::unique_ptr<ropeway_operation_t, deleter>;

void check(ropeway_error_t error) {
    if (error != ROPEWAY_OK) {
        std::fprintf(stderr, "use: %s: %s\n", ropeway_error_name(error), ropeway_last_error());
        std::exit(1);
    }
}

connector_ptr make_connector() {
    ropeway_connector_t *connector = nullptr;
    check(ropeway_connector_create(nullptr, &connector));
    return connector_ptr(connector);
}

ropeway_descriptor_t describe(std::vector<char> &memory) {
    return {memory.data(), memory.size(), {ROPEWAY_DEVICE_HOST, 0}};
}

void transfer(ropeway_connector_t *owner, ropeway_connector_t *writer, std::vector<char> &from,
              std::vector<char> &to) {
    const auto offered = describe(to), given = describe(from);
    ropeway_operation_t *handle = nullptr;
    const char *metadata = nullptr;

    check(ropeway_create_writable(owner, &offered, 1, nullptr, &handle));
    const operation_ptr writable(handle);
    check(ropeway_operation_metadata(writable.get(), &metadata));
    check(
        ropeway_begin_write(writer, metadata, std::strlen(metadata), &given, 1, nullptr, &handle));
    const operation_ptr write(handle);
    check(ropeway_operation_wait(write.get(), 20000));
    check(ropeway_operation_wait(writable.get(), 20000));
}

} // namespace

int main() {
    std::vector<char> from(1 << 20, 'w'), to(1 << 20);
    const auto owner = make_connector(), writer = make_connector();
    transfer(owner.get(), writer.get(), from, to);
    return from == to ? 0 : 1;
}
