# SPDX-License-Identifier: Apache-2.0
# Not tried: no Conan was at hand. A recipe (Conan 2) of the tree that it lies in:
#
#   conan create packaging/conan --build=missing
#
# Needs GNU make and pkg-config.
import os
import re
from pathlib import Path

from conan import ConanFile
from conan.errors import ConanInvalidConfiguration
from conan.tools.files import copy, load, rm, rmdir
from conan.tools.gnu import Autotools, AutotoolsToolchain, PkgConfigDeps
from conan.tools.layout import basic_layout

required_conan_version = ">=2.0"


class DynalockConan(ConanFile):
    name = "dynalock"
    description = "Key/value records and distributed locks, with AWS DynamoDB as the store"
    license = "Apache-2.0"
    topics = ("dynamodb", "distributed-lock", "aws")
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"shared": [True, False]}
    default_options = {"shared": False}

    @property
    def _tree(self):
        return str(Path(self.recipe_folder).parents[1])

    def set_version(self):
        header = load(self, os.path.join(self._tree, "dynalock.h"))
        self.version = re.search(r'^#define DYNALOCK_VERSION "(.*)"$', header, re.MULTILINE).group(1)

    def export_sources(self):
        copy(self, "*", self._tree, self.export_sources_folder,
             excludes=("build/*", ".git/*", "test/node_modules/*", "test/servers/*", "test/sysroots/*"))

    def configure(self):
        self.settings.rm_safe("compiler.cppstd")
        self.settings.rm_safe("compiler.libcxx")

    def validate(self):
        if self.settings.os != "Linux":
            raise ConanInvalidConfiguration("dynalock is built on Linux alone so far")

    def requirements(self):
        self.requires("libcurl/[>=7.78 <9]")
        self.requires("openssl/[>=1.1.1 <4]")
        self.requires("jansson/[>=2.12 <3]")

    def layout(self):
        basic_layout(self, src_folder="src")

    def generate(self):
        AutotoolsToolchain(self).generate()
        PkgConfigDeps(self).generate()

    def build(self):
        copy(self, "*", self.source_folder, self.build_folder)
        Autotools(self).make("all")

    def package(self):
        Autotools(self).make("install", args=["prefix=", f"DESTDIR={self.package_folder}"])
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        for folder in ("lib/pkgconfig", "lib/cmake", "share"):
            rmdir(self, os.path.join(self.package_folder, folder))
        rm(self, "*.a" if self.options.shared else "*.so*", os.path.join(self.package_folder, "lib"))

    def package_info(self):
        self.cpp_info.libs = ["dynalock"]
        self.cpp_info.set_property("pkg_config_name", "dynalock")
        self.cpp_info.set_property("cmake_file_name", "dynalock")
        self.cpp_info.set_property(
            "cmake_target_name", "dynalock::dynalock" if self.options.shared else "dynalock::dynalock_static")
        self.cpp_info.requires = ["libcurl::libcurl", "openssl::crypto", "jansson::jansson"]
        self.cpp_info.system_libs = ["pthread"]
