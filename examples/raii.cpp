/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dynalock in C++11: a store and a lock that end with their scope, also when an exception leaves it. Store, Lock and
 * Error may be taken over as they stand.
 *
 * usage: raii [TABLE]
 *
 * Region, endpoint and credentials come from the environment. The table (default: dynalock-demo) must be there.
 */
#include <dynalock.h>

#include <cstdint>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>

class Error : public std::runtime_error
{
  public:
    explicit Error(const dynalock_error &error)
        : std::runtime_error(error.message), code(error.code)
    {
    }
    const int code;
};

static void must(int code, const dynalock_error &error)
{
    if (code != DYNALOCK_OK) {
        throw Error(error);
    }
}

class Store
{
  public:
    Store(const std::string &table, const std::string &partition)
    {
        dynalock_error error;
        dynalock_store *store = nullptr;
        must(dynalock_open(table.c_str(), partition.c_str(), nullptr, &store, &error), error);
        store_.reset(store);
    }
    dynalock_store *get() const
    {
        return store_.get();
    }

  private:
    std::unique_ptr<dynalock_store, decltype(&dynalock_close)> store_{nullptr, dynalock_close};
};

/* Holds the lock from its constructor on, which waits for it, to its destructor. */
class Lock
{
  public:
    Lock(const Store &store, const std::string &key, std::int64_t wait_ms = -1)
    {
        dynalock_error error;
        dynalock_lock *lock = nullptr;
        must(dynalock_lock_new(store.get(), key.c_str(), nullptr, &lock, &error), error);
        lock_.reset(lock);
        must(dynalock_lock_acquire(lock, -1, wait_ms, &error), error);
    }
    ~Lock()
    {
        (void)dynalock_lock_release(lock_.get(), nullptr); /* failed, it ends by its lease */
    }

    /* Throws unless the lock is held for so long yet: called before each piece of work. */
    void ensure(std::int64_t min_ms) const
    {
        dynalock_error error;
        must(dynalock_lock_ensure(lock_.get(), min_ms, &error), error);
    }
    std::int64_t token() const
    {
        return dynalock_lock_token(lock_.get());
    }

  private:
    std::unique_ptr<dynalock_lock, decltype(&dynalock_lock_free)> lock_{nullptr,
                                                                        dynalock_lock_free};
};

static void work(const Store &store)
{
    const Lock lock(store, "raii");
    lock.ensure(1000);
    std::cout << "locked, token " << lock.token() << '\n';
    try {
        const Lock second(store, "raii", 0);
    } catch (const Error &error) {
        std::cout << "a second one: " << dynalock_strerror(error.code) << '\n';
    }
    throw std::logic_error("the work fails");
}

int main(int argc, char **argv)
{
    try {
        const Store store(argc > 1 ? argv[1] : "dynalock-demo", "raii");
        try {
            work(store);
        } catch (const std::logic_error &error) {
            std::cout << error.what() << '\n';
        }
        const Lock again(store, "raii", 0); /* the exception has released it */
        std::cout << "locked again, token " << again.token() << '\n';
    } catch (const Error &error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
    return 0;
}
