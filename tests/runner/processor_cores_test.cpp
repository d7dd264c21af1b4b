#include "runner/processor_cores.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <cstdlib>
#include <fstream>
#include <thread>

#include "tests/runner/support.h"

namespace lockstep::runner {
namespace {

using Cores = std::vector<int>;

// Two NUMA nodes of four cores, a GPU on each, as hwloc writes machines down.
constexpr const char* kMachine = R"(<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE topology SYSTEM "hwloc2.dtd">
<topology version="2.0">
 <object type="Machine" os_index="0" cpuset="0xff" complete_cpuset="0xff" allowed_cpuset="0xff"
   nodeset="0x3" complete_nodeset="0x3" allowed_nodeset="0x3">
  <object type="Package" os_index="0" cpuset="0xf" complete_cpuset="0xf" nodeset="0x1" complete_nodeset="0x1">
   <object type="NUMANode" os_index="0" cpuset="0xf" complete_cpuset="0xf" nodeset="0x1" complete_nodeset="0x1" local_memory="1073741824"/>
   <object type="PU" os_index="0" cpuset="0x1" complete_cpuset="0x1" nodeset="0x1" complete_nodeset="0x1"/>
   <object type="PU" os_index="1" cpuset="0x2" complete_cpuset="0x2" nodeset="0x1" complete_nodeset="0x1"/>
   <object type="PU" os_index="2" cpuset="0x4" complete_cpuset="0x4" nodeset="0x1" complete_nodeset="0x1"/>
   <object type="PU" os_index="3" cpuset="0x8" complete_cpuset="0x8" nodeset="0x1" complete_nodeset="0x1"/>
   <object type="Bridge" bridge_type="0-1" depth="0" bridge_pci="0000:[00-1f]">
    <object type="PCIDev" pci_busid="0000:01:00.0" pci_type="0302 [10de:2330] [10de:16c1] a1" pci_link_speed="63.0"/>
   </object>
  </object>
  <object type="Package" os_index="1" cpuset="0xf0" complete_cpuset="0xf0" nodeset="0x2" complete_nodeset="0x2">
   <object type="NUMANode" os_index="1" cpuset="0xf0" complete_cpuset="0xf0" nodeset="0x2" complete_nodeset="0x2" local_memory="1073741824"/>
   <object type="PU" os_index="4" cpuset="0x10" complete_cpuset="0x10" nodeset="0x2" complete_nodeset="0x2"/>
   <object type="PU" os_index="5" cpuset="0x20" complete_cpuset="0x20" nodeset="0x2" complete_nodeset="0x2"/>
   <object type="PU" os_index="6" cpuset="0x40" complete_cpuset="0x40" nodeset="0x2" complete_nodeset="0x2"/>
   <object type="PU" os_index="7" cpuset="0x80" complete_cpuset="0x80" nodeset="0x2" complete_nodeset="0x2"/>
   <object type="Bridge" bridge_type="0-1" depth="0" bridge_pci="0000:[80-9f]">
    <object type="PCIDev" pci_busid="0000:81:00.0" pci_type="0302 [10de:2330] [10de:16c1] a1" pci_link_speed="63.0"/>
   </object>
  </object>
 </object>
</topology>
)";

class CoresNear : public testing::Test {
 protected:
  CoresNear() {
    const auto file = folder_.path() / "machine.xml";
    std::ofstream(file) << kMachine;
    setenv("HWLOC_XMLFILE", file.c_str(), 1);
  }
  ~CoresNear() override { unsetenv("HWLOC_XMLFILE"); }

  TemporaryFolder folder_;
  const Cores all_{0, 1, 2, 3, 4, 5, 6, 7};
};

TEST_F(CoresNear, AreThoseOfTheGpusNode) {
  EXPECT_EQ(cores_near("0000:01:00.0", all_), (Cores{0, 1, 2, 3}));
  EXPECT_EQ(cores_near("0000:81:00.0", all_), (Cores{4, 5, 6, 7}));
}

TEST_F(CoresNear, AreNoneThatTheRankMayNotUse) {
  EXPECT_EQ(cores_near("0000:81:00.0", {1, 2, 5, 6}), (Cores{5, 6}));
  EXPECT_EQ(cores_near("0000:81:00.0", {0, 3}), (Cores{0, 3}));  // bound to the other node
}

TEST_F(CoresNear, AreAllWhereNothingIsKnown) {
  EXPECT_EQ(cores_near("0000:41:00.0", all_), all_);
  EXPECT_EQ(cores_near("", all_), all_);
  setenv("HWLOC_XMLFILE", "/absent.xml", 1);
  EXPECT_EQ(cores_near("0000:01:00.0", all_), all_);
}

TEST(AllowedCores, AreThoseOfTheThreadsMask) {
  const Cores before = allowed_cores();
  ASSERT_FALSE(before.empty());
  Cores inside;
  std::thread([&] {
    run_on({before.back()});
    inside = allowed_cores();
  }).join();
  EXPECT_EQ(inside, Cores{before.back()});
  EXPECT_EQ(allowed_cores(), before);
}

TEST(ShareOfCores, CountsWhoMayUseThem) {
  const Cores low{0, 1, 2, 3}, high{4, 5, 6, 7}, all{0, 1, 2, 3, 4, 5, 6, 7};
  EXPECT_EQ(share_of_cores(low, {low, high}), 4);      // bound to cores of its own
  EXPECT_EQ(share_of_cores(all, {all, all}), 4);       // not bound
  EXPECT_EQ(share_of_cores(low, {low, low, low}), 1);  // under one mask: 4 thirds
  EXPECT_EQ(share_of_cores({0, 1, 2}, std::vector<Cores>(3, {0, 1, 2})), 1);  // exactly one
  EXPECT_EQ(share_of_cores({0}, std::vector<Cores>(4, {0})), 1);              // never none
}

}  // namespace
}  // namespace lockstep::runner
